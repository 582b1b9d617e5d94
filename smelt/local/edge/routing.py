"""Routes whose paths may hold anything, line breaks too: the service behind them says what is wrong with it."""

import re
from collections.abc import Callable
from typing import Any

from starlette.routing import Mount, Route
from starlette.types import ASGIApp


class AnyPathMount(Mount):
    """A mount that takes every path below its own."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        super().__init__(path, app)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


class AnyPathRoute(Route):
    """A route whose `path` parameters match every text."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)
