"""What an answer of the project means for the caller: pass it on as refused, or try again."""

from typing import Final

import httpx

from smelt.errors import NotFound, RequestRejected, SmeltError, Unauthorized, Unavailable

# SQLSTATE classes that speak of the server's state and not of the request: connections, serialization and deadlocks,
# resources, locks, operator intervention, system errors.
_TRANSIENT_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})
_UNAUTHORIZED_CODES: Final = frozenset({"42501", "PGRST301", "PGRST302", "PGRST303", "401", "403"})


def map_api_error(code: str | None, message: str, hint: str | None = None) -> SmeltError:
    """The error for an answer of PostgREST: `code` is a SQLSTATE, a PGRST code, an HTTP status or missing.

    Errors of smelt's own functions are `PT4xx` with the stable code as hint. A missing code means that something in
    front of PostgREST answered.
    """
    if code is None:
        return Unavailable(message)
    if code.startswith("PT"):
        return requested(hint or code, message)
    if code == "PGRST202":
        lacks = "the project lacks smelt's functions, or the newest of them: `smelt init`, then `supabase db push`"
        return RequestRejected(code, f"{lacks} ({message})")
    if code in _UNAUTHORIZED_CODES:
        return Unauthorized(message)
    if _is_passing(code):
        return Unavailable(f"{message} ({code})")
    return RequestRejected(code, message)


def unanswered(doing: str, error: httpx.TransportError) -> Unavailable:
    """The error for a request that got no answer, naming whom it went to."""
    url = error.request.url
    return Unavailable(f"{doing}: {url.scheme}://{url.netloc.decode()} does not answer ({type(error).__name__})")


def requested(code: str, message: str) -> RequestRejected:
    """The error for a request that smelt's functions refuse with a stable code."""
    return NotFound(code, message) if code == "not_found" else RequestRejected(code, message)


def map_storage_error(status: int | str, code: str, message: str) -> SmeltError:
    """The error for an answer of Storage, whose real status stands in the body."""
    match str(status):
        case "401" | "403":
            return Unauthorized(message)
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


def map_http_error(status: int, message: str) -> SmeltError:
    """The error for a bare HTTP status."""
    if status in {401, 403}:
        return Unauthorized(message)
    if status in {408, 425, 429} or status >= 500:
        return Unavailable(f"{message} (HTTP {status})")
    return RequestRejected(str(status), message)


def _is_passing(code: str) -> bool:
    if code.startswith("PGRST0"):  # PostgREST has lost its database, or not found it yet.
        return True
    if code.isdigit() and len(code) == 3:
        return code.startswith("5") or code in {"408", "425", "429"}
    return code[:2] in _TRANSIENT_CLASSES
