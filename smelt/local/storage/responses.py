"""JSON responses in the platform's format."""

import json

from starlette.responses import Response

from smelt.local.storage.errors import StorageError

JSON_TYPE = "application/json; charset=utf-8"


def json_response(body: object, status: int = 200, **headers: str) -> Response:
    """Return compact JSON without escapes; underscores in names of headers become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=status,
        headers={"content-type": JSON_TYPE} | named,
    )


def error_response(error: StorageError) -> Response:
    """Return the response for an error."""
    return json_response(error.body(), error.http_status)
