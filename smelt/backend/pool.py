"""The pool of HTTP connections of a project."""

import asyncio
import ssl
import sys
from contextlib import aclosing
from functools import cache
from typing import Any, Final

import httpx

from smelt.backend.clock import SLEPT_S, WallClock
from smelt.errors import PermanentError

MAX_CONNECTIONS: Final = 20


class Pool(httpx.AsyncClient):
    """An HTTP client that reuses no connection on which a request would hang until its timeout.

    After a suspend of the machine, pooled connections may be half-open: it opens new ones. A server that rejects an
    upload before it has read all of it may read nothing more from the connection (Storage leaves it so for 62 s, though
    it announces keep-alive): it closes the connection.

    Args:
        auth: Signs each request.
        timeout_s: The timeout of a request.
        max_connections: The number of connections at a time; further requests wait.
        shared: A pool to send the requests over, signed by `auth`; closing this client leaves its connections open.
    """

    def __init__(
        self,
        auth: httpx.Auth | None,
        timeout_s: float,
        *,
        max_connections: int = MAX_CONNECTIONS,
        shared: "Pool | None" = None,
    ) -> None:
        super().__init__(auth=auth, timeout=timeout_s, verify=tls())
        self._shared = shared
        self._max_connections = max_connections
        # httpx cannot drop pooled connections without closing the client: requests go through an inner client that
        # can be replaced.
        self._inner_client: httpx.AsyncClient = self._new_client() if shared is None else shared
        self._clock = WallClock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise `PermanentError` if the pool is closed, or was used in another event loop."""
        if self.is_closed:
            raise PermanentError("the client is closed")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise PermanentError("the client was used in another event loop: call connect() once per event loop")

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: httpx.Auth | Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: bool | Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send a request, over a connection that is usable."""
        self.check()
        auth = self.auth if auth is httpx.USE_CLIENT_DEFAULT else auth
        if self._shared is not None:
            return await self._shared.send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        if self._clock.ran_ahead_s() >= SLEPT_S:
            outdated, self._inner_client = self._inner_client, self._new_client()
            await outdated.aclose()
        is_upload = not isinstance(request.stream, httpx.ByteStream)
        response = await self._inner_client.send(
            request, stream=stream or is_upload, auth=auth, follow_redirects=follow_redirects
        )
        try:
            if is_upload and response.is_error:
                return await _closed(response)
            if not stream:
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            await super().aclose()
        finally:
            if self._shared is None:
                await self._inner_client.aclose()

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=tls(), limits=httpx.Limits(max_connections=self._max_connections))


async def _closed(response: httpx.Response) -> httpx.Response:
    """Return the response with its body, after closing its connection.

    The connection closes because the end of the response is never taken from it. The end of a body without a
    Content-Length is only known once it was taken, and the connection stays open then.
    """
    length = int(response.headers.get("content-length", sys.maxsize))
    body = bytearray()
    async with aclosing(response):
        parts = response.aiter_raw()
        while len(body) < length and (part := await anext(parts, None)) is not None:
            body += part
    return httpx.Response(response.status_code, headers=response.headers, content=bytes(body), request=response.request)


@cache
def tls() -> ssl.SSLContext:
    """Return the TLS settings of all clients, with the certificates to trust."""
    # Loading all certificates blocks the event loop for tens of milliseconds: done once.
    return httpx.create_ssl_context()
