"""What the gateway itself answers, where no service is behind a path."""

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_NOT_SERVED: Final = {
    "/functions/v1": "Edge Functions are",
    "/graphql/v1": "GraphQL is",
    "/pg": "The API of pg-meta is",
    "/analytics/v1": "Analytics are",
    "/rest-admin/v1": "The admin API of PostgREST is",
    "/mcp": "The MCP server is",
}


async def not_found(request: Request, exc: Exception) -> Response:
    """Answer a path that no service has: 501 where the platform has one, else 404 in the gateway's words."""
    path = request.url.path
    for prefix, what in _NOT_SERVED.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            message = f"{what} not part of the embedded stack, but of `supabase start`."
            return JSONResponse({"message": message}, 501)
    return JSONResponse({"message": "no Route matched with those values"}, 404)
