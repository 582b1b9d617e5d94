"""JSON answers as the platform writes them."""

import json

from starlette.responses import Response

from smelt.local.storage.errors import StorageError

JSON_TYPE = "application/json; charset=utf-8"


def json_response(body: object, status: int = 200, **headers: str) -> Response:
    """Answer JSON, compact and not escaped; underscores in the names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=status,
        headers={"content-type": JSON_TYPE} | named,
    )


def error_response(refusal: StorageError) -> Response:
    """Answer a refusal."""
    return json_response(refusal.body(), refusal.http_status)
