"""Mapping of the error responses of a project to smelt's errors: transient ones are retried, permanent ones raised."""

from typing import Final

import httpx
from pydantic import ValidationError

from smelt.contract.events import Model
from smelt.errors import Forbidden, NotFound, RequestRejected, SmeltError, Unauthorized, Unavailable

# SQLSTATE classes that concern the state of the server and not the request: connections, serialization and deadlocks,
# resources, locks, operator intervention, system errors.
_TRANSIENT_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})
_UNAUTHORIZED_CODES: Final = frozenset({"PGRST301", "PGRST302", "PGRST303", "401"})
_FORBIDDEN_CODES: Final = frozenset({"42501", "403"})


class _StorageError(Model):
    statusCode: str
    error: str
    message: str


def map_api_error(code: str | None, message: str, hint: str | None = None) -> SmeltError:
    """Return the error for a response of PostgREST.

    Args:
        code: A SQLSTATE, a PGRST code, or an HTTP status. Errors of smelt's own functions are `PT4xx`. None if the
            response came from a proxy in front of PostgREST, empty if PostgREST lost its connection to the database.
        message: The sentence for people.
        hint: The stable code of an error of smelt's own functions.
    """
    if not code:
        return Unavailable(message)
    if code.startswith("PT"):
        return map_rejection(hint or code, message)
    if code == "PGRST202":
        missing = "the project lacks functions of smelt: run `smelt init`, then `supabase db push --remote`"
        return RequestRejected(code, f"{missing} ({message})")
    if code in _UNAUTHORIZED_CODES:
        return Unauthorized(message)
    if code in _FORBIDDEN_CODES:
        return Forbidden(message)
    if _is_transient(code):
        return Unavailable(f"{message} ({code})")
    return RequestRejected(code, message)


def map_transport_error(doing: str, error: httpx.TransportError) -> Unavailable:
    """Return the error for a request without a response; its message names the host."""
    url = error.request.url
    return Unavailable(f"{doing}: {url.scheme}://{url.netloc.decode()} does not respond ({type(error).__name__})")


def map_rejection(code: str, message: str) -> RequestRejected:
    """Return the error for a request that smelt's functions reject with a stable code."""
    return NotFound(code, message) if code == "not_found" else RequestRejected(code, message)


def map_storage_error(status: int | str, code: str, message: str) -> SmeltError:
    """Return the error for a response of Storage, which reports the actual status in the body."""
    match str(status):
        case "401":
            return Unauthorized(message)
        case "403":
            return Forbidden(message)
        case "404":
            return NotFound("not_found", message)
        case "413":
            return RequestRejected("file_too_large", message)
        case "415":
            return RequestRejected("invalid_format", message)
        case "429":
            return Unavailable(message)
        case text if text.startswith("5"):
            return Unavailable(message)
        case _:
            return RequestRejected(code, message)


def map_storage_response(response: httpx.Response) -> SmeltError:
    """Return the error for an error response of Storage, or of a proxy in front of it."""
    try:
        error = _StorageError.model_validate_json(response.content)
    except ValidationError:
        return map_http_error(response.status_code, response.reason_phrase)
    return map_storage_error(error.statusCode, error.error, error.message)


def map_http_error(status: int, message: str) -> SmeltError:
    """Return the error for an HTTP status without a body that is known."""
    if status == 401:
        return Unauthorized(message)
    if status == 403:
        return Forbidden(message)
    if status in {408, 425, 429} or status >= 500:
        return Unavailable(f"{message} (HTTP {status})")
    return RequestRejected(str(status), message)


def _is_transient(code: str) -> bool:
    if code.startswith("PGRST0"):  # PostgREST is not connected to the database (yet).
        return True
    if code.isdigit() and len(code) == 3:
        return code.startswith("5") or code in {"408", "425", "429"}
    return code[:2] in _TRANSIENT_CLASSES
