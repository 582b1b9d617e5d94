"""Routes whose paths can contain any text, including line breaks; the services validate it."""

import re
from collections.abc import Callable
from typing import Any

from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Scope


class AnyPathMount(Mount):
    """A mount of a service over HTTP, without websockets, that matches every path below its own."""

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
