"""The HTTP connections of a project."""

import asyncio
import ssl
from functools import cache
from typing import Any, Final

import httpx

from smelt.backend.clock import SLEPT_S, WallClock
from smelt.errors import Refused

MAX_CONNECTIONS: Final = 20


class Pool(httpx.AsyncClient):
    """Connections that are all new once the machine was asleep.

    Nobody may be at the other end of the old ones any more, and without a word from there a request would wait for
    its whole time to find out.
    """

    def __init__(self, auth: httpx.Auth, timeout_s: float) -> None:
        super().__init__(
            auth=auth, timeout=timeout_s, verify=_tls(), limits=httpx.Limits(max_connections=MAX_CONNECTIONS)
        )
        self._clock = WallClock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise `Refused` when it is closed, or was used in another event loop."""
        if self.is_closed:
            raise Refused("the client is closed")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise Refused("the client was used in another event loop: connect once in each")

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request, over a new connection after a sleep."""
        self.check()
        if self._clock.ran_ahead_s() >= SLEPT_S:
            await _close_idle(self)
        return await super().send(request, **options)


@cache
def _tls() -> ssl.SSLContext:
    # Reading all certificates takes tens of milliseconds, in which no event loop goes on: once is enough.
    return httpx.create_ssl_context()


async def _close_idle(pool: Pool) -> None:
    # The client has no way to let go of what it keeps alive; those in use end with their own requests.
    transports = [pool._transport, *pool._mounts.values()]
    pools = [transport._pool for transport in transports if isinstance(transport, httpx.AsyncHTTPTransport)]
    idle = [connection for each in pools for connection in each.connections if connection.is_idle()]
    await asyncio.gather(*(connection.aclose() for connection in idle))
