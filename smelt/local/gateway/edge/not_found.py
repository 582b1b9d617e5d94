"""The gateway's responses to paths without a service."""

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smelt.local.http import not_served_message

_NOT_SERVED: Final = {
    "/functions/v1": "Edge Functions are",
    "/graphql/v1": "GraphQL is",
    "/pg": "The API of pg-meta is",
    "/analytics/v1": "Analytics are",
    "/rest-admin/v1": "The admin API of PostgREST is",
    "/mcp": "The MCP server is",
}


async def not_found(request: Request, exc: Exception) -> Response:
    """Return 404, as the platform's gateway does, with a hint for a service that only the platform has."""
    path = request.url.path
    for prefix, subject in _NOT_SERVED.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return JSONResponse({"code": "NOT_FOUND", "message": not_served_message(subject)}, 404)
    return JSONResponse({"message": "no Route matched with those values"}, 404)
