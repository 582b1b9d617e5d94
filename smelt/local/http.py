"""HTTP for the services behind the gateway: routes, bounded bodies, and the message about missing features."""

import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Scope


class AnyPathMount(Mount):
    """A mount of a service over HTTP, without websockets, that matches every path below its own.

    A path can contain any text, including line breaks; the services validate it.
    """

    def __init__(self, path: str, app: ASGIApp) -> None:
        super().__init__(path, app)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if scope["type"] == "http" else (Match.NONE, {})


class AnyPathRoute(Route):
    """A route whose `path` parameters match any text."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


async def read_bounded(request: Request, max_bytes: int, too_large: Callable[[], Exception]) -> bytes:
    """Return the body of a request; raise the exception of `too_large` as soon as it exceeds `max_bytes`."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > max_bytes:
            raise too_large()
    return bytes(received)


def not_served_message(subject: str) -> str:
    """Return the message for a part of the platform that the stack lacks; `subject` ends with `is` or `are`.

    The status of its response is not a 5xx, which clients take for a failure that passes, and retry.
    """
    return f"{subject} not part of the embedded stack; use `supabase start` for it."
