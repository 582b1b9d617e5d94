"""The HTTP connections of a project."""

import asyncio
import ssl
from functools import cache
from typing import Any, Final

import httpx

from smelt.backend.clock import SLEPT_S, WallClock
from smelt.errors import PermanentError

MAX_CONNECTIONS: Final = 20


class Pool(httpx.AsyncClient):
    """Connections that are all new once the machine was asleep.

    Nobody may be at the other end of the old ones any more, and without a word from there a request would wait for
    its whole time to find out.
    """

    def __init__(self, auth: httpx.Auth, timeout_s: float) -> None:
        super().__init__(auth=auth, timeout=timeout_s, verify=_tls())
        # A client can't let go of its connections without being closed: those that carry requests are another's.
        self._carrier = _carrier()
        self._clock = WallClock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise `PermanentError` when it is closed, or was used in another event loop."""
        if self.is_closed:
            raise PermanentError("the client is closed")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise PermanentError("the client was used in another event loop: connect once in each")

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: httpx.Auth | Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: bool | Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send a request, over a new connection after a sleep."""
        self.check()
        if self._clock.ran_ahead_s() >= SLEPT_S:
            asleep, self._carrier = self._carrier, _carrier()
            await asleep.aclose()
        auth = self.auth if auth is httpx.USE_CLIENT_DEFAULT else auth
        return await self._carrier.send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            await super().aclose()
        finally:
            await self._carrier.aclose()


def _carrier() -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=_tls(), limits=httpx.Limits(max_connections=MAX_CONNECTIONS))


@cache
def _tls() -> ssl.SSLContext:
    # Reading all certificates takes tens of milliseconds, in which no event loop goes on: once is enough.
    return httpx.create_ssl_context()
