"""Errors under `/v1`, in the shape of OpenAI's API."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from smelt.contract.events import Model
from smelt.errors import SmeltError
from smelt.gateway.errors import ErrorBody, Problem, documented

SMELT_ID_HEADER: Final = "X-Smelt-Id"
NO_RETRY: Final = {"X-Should-Retry": "false"}
"""Keeps OpenAI's clients from repeating a request whose response would be the same."""

_PREFIX: Final = "/v1/"
_STATUS: Final = {415: 400, 422: 400}
"""OpenAI's clients have classes of errors for 400, 401, 403, 404, 409, 422, 429 and 5xx; its API has no 422."""
_PARAMETERS: Final = {"file_too_large": "file", "invalid_format": "file", "no_input": "file"}
"""The parameters that codes of smelt are about."""
_HANDLED: Final = (SmeltError, RequestValidationError, HTTPException, ClientDisconnect, Exception)


class OpenAIError(Model):
    """An error: a sentence for people, its type, the parameter that it is about, and a stable code for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(Model):
    """The body of every error under `/v1`."""

    error: OpenAIError


class OpenAIProblem(Problem):
    """A request under `/v1` that the gateway rejects, because of a parameter if `parameter` names one."""

    def __init__(
        self,
        status: int,
        code: str,
        sentence: str,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, sentence)
        self.parameter = parameter
        self.headers = headers


def add_openai_error_handlers(app: FastAPI) -> None:
    """Give errors of paths under `/v1` OpenAI's shape; after `add_error_handlers`, whose responses are translated."""
    for error in _HANDLED:
        app.add_exception_handler(error, _translating(app.exception_handlers[error]))


def translated(path: str, response: Response, parameter: str | None = None) -> Response:
    """Return the error response for a path: under `/v1` in OpenAI's shape, elsewhere as it is."""
    if not f"{path}/".startswith(_PREFIX):
        return response
    status = _STATUS.get(response.status_code, response.status_code)
    body = openai_error(ErrorBody.model_validate_json(bytes(response.body)), status, parameter)
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return JSONResponse(body.model_dump(), status, headers)


def openai_error(body: ErrorBody, status: int, parameter: str | None = None) -> OpenAIErrorBody:
    """Return the body of an error in OpenAI's shape."""
    field = body.details[0].field if body.details else _PARAMETERS.get(body.code)
    return OpenAIErrorBody(
        error=OpenAIError(message=body.error, type=_type_of(status), param=parameter or field, code=body.code)
    )


def documented_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for these statuses, and for those of any route under `/v1`."""
    responses = documented(400, *statuses)
    return {status: {**response, "model": OpenAIErrorBody} for status, response in responses.items()}


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _translating(
    handler: Callable[[Request, Any], Response | Awaitable[Response]],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def respond(request: Request, error: Exception) -> Response:
        made = handler(request, error)
        response = made if isinstance(made, Response) else await made
        parameter = error.parameter if isinstance(error, OpenAIProblem) else None
        response = translated(request.url.path, response, parameter)
        smelt_id = getattr(request.state, "smelt_id", None)
        if smelt_id is not None:
            response.headers[SMELT_ID_HEADER] = str(smelt_id)
        return response

    return respond
