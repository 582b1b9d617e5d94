"""The HTTP connections of a project."""

import asyncio
import ssl
from functools import cache
from typing import Final

import httpx

from smelt.backend.clock import SLEPT_S, WallClock

MAX_CONNECTIONS: Final = 20


def open_pool(auth: httpx.Auth, timeout_s: float) -> httpx.AsyncClient:
    """A pool that, once the machine was asleep, begins with new connections.

    Nobody may be at the other end of the old ones any more, and without a word from there a request would wait for
    its whole time to find out.
    """
    clock = WallClock()

    async def leave_the_dead(_: httpx.Request) -> None:
        if clock.ran_ahead_s() >= SLEPT_S:
            await _close_idle(pool)

    pool = httpx.AsyncClient(
        auth=auth,
        timeout=timeout_s,
        verify=_tls(),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        event_hooks={"request": [leave_the_dead]},
    )
    return pool


@cache
def _tls() -> ssl.SSLContext:
    # Reading all certificates takes tens of milliseconds, in which no event loop goes on: once is enough.
    return httpx.create_ssl_context()


async def _close_idle(pool: httpx.AsyncClient) -> None:
    # The client has no way to let go of what it keeps alive; those in use end with their own requests.
    transports = [pool._transport, *pool._mounts.values()]
    pools = [transport._pool for transport in transports if isinstance(transport, httpx.AsyncHTTPTransport)]
    idle = [connection for each in pools for connection in each.connections if connection.is_idle()]
    await asyncio.gather(*(connection.aclose() for connection in idle))
