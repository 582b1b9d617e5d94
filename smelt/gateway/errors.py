"""Errors over HTTP: one shape, stable codes, and a status for each error of smelt."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from smelt.contract.events import Model
from smelt.errors import Forbidden, RequestRejected, SmeltError, TransientError, Unauthorized
from smelt.pickling import PicklableError

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5
"""When to repeat a request after an outage."""
BUSY_RETRY_AFTER_S: Final = 30
"""When to repeat a request that exceeded a limit of what may run at a time."""

_STATUS_OF_REJECTION: Final = {
    "combine_requires_auth": 403,
    "not_allowed": 403,
    "not_found": 404,
    "speaker_not_found": 404,
    "missing_upload": 409,
    "idempotency_conflict": 409,
    "still_referenced": 409,
    "not_completed": 409,
    "not_transcribed": 409,
    "Duplicate": 409,
    "audio_expired": 410,
    "file_too_large": 413,
    "invalid_format": 415,
    "too_many_open": 429,
    # The project and this gateway do not fit together: its schema is missing or of another version.
    "unexpected_response": 502,
    "PGRST202": 502,
}
_CODE_OF_STATUS: Final = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}
_SENTENCE_OF_STATUS: Final = {
    404: "This path does not exist.",
    405: "This path does not have this method.",
    413: "The body is larger than allowed.",
}
_DOCUMENTED: Final = {
    400: "The request is malformed, or the project rejects it",
    401: "The token is missing or rejected",
    403: "The token lacks the permission",
    404: "It does not exist, or belongs to another user",
    408: "The body does not arrive",
    409: "The state of the smelt does not allow it",
    410: "The audio was removed",
    413: "The body, a file or the text is too large",
    415: "The type of the body or of a file is not supported",
    422: "A parameter or a field is invalid; `details` lists which",
    429: "A limit is exceeded; see `Retry-After`",
    500: "The smelt has failed",
    502: "The project has no smelt schema, or another version of it",
    503: "The project does not respond, or the gateway stops or has no disk space; see `Retry-After`",
    504: "The smelt has not ended in time",
}


class Issue(Model):
    """An invalid value of a request: where it is, and the reason."""

    field: str
    message: str


class ErrorBody(Model):
    """The body of every error: a sentence for people, and a stable code for programs."""

    error: str
    code: str
    details: tuple[Issue, ...] | None = None


class Problem(PicklableError, HTTPException):
    """A request that the gateway itself rejects."""

    def __init__(self, status: int, code: str, sentence: str, retry_after_s: int | None = None) -> None:
        HTTPException.__init__(self, status, sentence, _retry_header(retry_after_s))
        self.code = code
        self.retry_after_s = retry_after_s


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for these statuses, and for those of any route."""
    return {
        status: {"model": ErrorBody, "description": _DOCUMENTED[status]}
        for status in sorted({400, 401, 403, 422, 502, 503, *statuses})
    }


def add_error_handlers(app: FastAPI) -> None:
    """Respond to every error of an application in the same shape."""
    app.add_exception_handler(SmeltError, _on_smelt_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_bug)


def response_to(error: SmeltError, *, has_expired: bool = False) -> JSONResponse:
    """Return the response to an error of smelt; `has_expired` is True if the token of the caller has expired."""
    match error:
        case Forbidden():
            return _response(403, "forbidden", str(error))
        case Unauthorized() if has_expired:
            return _response(401, "token_expired", "The token has expired; send a new one.")
        case Unauthorized():
            return _response(401, "unauthorized", str(error))
        case RequestRejected(code=code):
            status = _STATUS_OF_REJECTION.get(code, 400)
            return _response(status, code, str(error), _retry_header(BUSY_RETRY_AFTER_S if status == 429 else None))
        case TransientError():
            return _response(503, "unavailable", str(error), _retry_header(RETRY_AFTER_S))
        case _:
            logger.error("unexpected error of a request", exc_info=error)
            return _response(500, "internal_error", "Something went wrong on our side.")


async def _on_smelt_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SmeltError)
    # None if the error came before the caller.
    caller = getattr(request.state, "caller", None)
    return response_to(error, has_expired=caller is not None and caller.has_expired)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    issues = [Issue(field=_path(found["loc"]), message=str(found["msg"])) for found in error.errors()]
    first = issues[0]
    return _response(422, "invalid_request", f"{first.field}: {first.message}", issues=issues)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return _response(error.status_code, error.code, error.detail, error.headers)
    status = error.status_code
    sentence = _SENTENCE_OF_STATUS.get(status, error.detail)
    return _response(status, _CODE_OF_STATUS.get(status, "malformed_request"), sentence, error.headers)


async def _on_disconnect(request: Request, error: Exception) -> JSONResponse:
    # It is not received; without a response the server would log an error.
    return _response(400, "disconnected", "The connection ended before the body.")


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again, and the server logs it.
    return _response(500, "internal_error", "Something went wrong on our side.")


def _response(
    status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None, *, issues: Sequence[Issue] = ()
) -> JSONResponse:
    body = ErrorBody(error=sentence, code=code, details=tuple(issues) or None)
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(body.model_dump(exclude_none=True), status, {**challenge, **(headers or {})})


def _retry_header(retry_after_s: int | None) -> dict[str, str]:
    return {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


def _path(location: Sequence[int | str]) -> str:
    # `body`, `query`, `path` or `header` comes first.
    return ".".join(str(part) for part in location[1:]) or str(location[0])
