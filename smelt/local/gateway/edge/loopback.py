"""Rejects requests that a page of another machine makes a browser send to the stack.

The keys of a stack are well known, so any page could use it: with its own origin, or, if its host name resolves to the
loopback address, with the same origin as the stack (DNS rebinding).
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ANY = "*"


class LoopbackOnly:
    """ASGI middleware that accepts only hosts and origins on this machine, and those that the project allows.

    An origin is compared as a whole, `https://app.example`, and a host without its port; `*` allows any.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = (), origins: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = None if scope["type"] == "lifespan" else self._rejection(Headers(scope=scope))
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            # The server turns this into a response with the status 403.
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await JSONResponse({"code": "forbidden", "message": reason}, 403)(scope, receive, send)

    def _rejection(self, headers: Headers) -> str | None:
        host, origin = headers.get("host"), headers.get("origin")
        # Without a Host header, the request is not from a browser.
        if host and not is_loopback(f"//{host}") and not {ANY, _hostname(f"//{host}")} & self._hosts:
            return f"The host {host} is not on this machine; add it to `allowed_hosts` in [api] of config.toml"
        if origin and not is_loopback(origin) and not {ANY, origin} & self._origins:
            return f"The origin {origin} is not on this machine; add it to `allowed_origins` in [api] of config.toml"
        return None


def is_loopback(url: str) -> bool:
    """Return True if the host of a URL is this machine."""
    hostname = _hostname(url)
    if hostname is None:
        return False
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost" or hostname.endswith(".localhost")


def origin_of(url: str) -> str:
    """Return the origin of a URL, as browsers send it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
