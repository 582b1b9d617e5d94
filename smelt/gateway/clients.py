"""The clients of the subscriber library that requests of one identity share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Final

from fastapi import Depends, Request

from smelt.backend.pool import Pool
from smelt.backend.project import Project
from smelt.backend.tokens import is_jwt
from smelt.gateway.callers import CALL_TIMEOUT_S, SERVICE, Caller
from smelt.subscriber.client import Client

IDLE_S: Final = 60.0
"""A client that nobody uses is closed after this time."""


class Clients:
    """One client for each identity, closed after 60 s without use.

    A client calls with the newest credential of its identity that the project has accepted. The gateway cannot verify
    a token, so it adopts one only after a call with exactly that token.
    """

    def __init__(self, pool: Pool, *, idle_s: float = IDLE_S) -> None:
        self._pool = pool
        self._idle_s = idle_s
        self._shared: dict[tuple[str, str], _Shared] = {}

    @asynccontextmanager
    async def lease(self, caller: Caller) -> AsyncIterator[Client]:
        """Yield the client of the caller's identity, and keep it open; raise `Unauthorized` for a rejected token."""
        # A read-only token is served with the secret key, so its holders share the client of the service.
        identity = caller.identity if caller.smelt_id is None else SERVICE
        key = (identity, caller.project.key)
        if key not in self._shared or not self._shared[key].has_adopted(caller):
            await caller.check()
        if key not in self._shared:
            self._shared[key] = _Shared(caller, self._pool, lambda: self._shared.pop(key, None))
        shared = self._shared[key]
        shared.adopt(caller)
        async with shared.in_use(self._idle_s):
            yield shared.client

    @property
    def count(self) -> int:
        """The number of open clients."""
        return len(self._shared)

    async def aclose(self) -> None:
        """Close all clients."""
        async with AsyncExitStack() as closing:
            for shared in list(self._shared.values()):
                closing.push_async_callback(shared.close)


class _Shared:
    """A client, its newest token, and the number of its users."""

    def __init__(self, caller: Caller, pool: Pool, forget: Callable[[], object]) -> None:
        self._token = _user_token(caller)
        self._expires_at = caller.expires_at or 0.0
        self._forget = forget
        self._user_count = 0
        self._closing: asyncio.Task[None] | None = None
        renewed = None if self._token is None else lambda: self._token or ""
        self.client = Client(
            Project(caller.project.url, caller.project.key, access_token=renewed, timeout_s=CALL_TIMEOUT_S, pool=pool)
        )

    def has_adopted(self, caller: Caller) -> bool:
        """Return True if the client calls with the caller's credential."""
        return self._token == _user_token(caller)

    def adopt(self, caller: Caller) -> None:
        """Take over the caller's token, unless that of the client expires later."""
        if (caller.expires_at or 0.0) > self._expires_at:
            self._token, self._expires_at = _user_token(caller), caller.expires_at or 0.0

    @asynccontextmanager
    async def in_use(self, idle_s: float) -> AsyncIterator[None]:
        """Keep the client open for the block, and then for `idle_s`."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self._user_count += 1
        try:
            yield
        finally:
            self._user_count -= 1
            if self._user_count == 0:
                self._closing = asyncio.create_task(self._close_later(idle_s))

    async def _close_later(self, idle_s: float) -> None:
        await asyncio.sleep(idle_s)
        self._closing = None
        await self.close()

    async def close(self) -> None:
        """Close the client."""
        self._forget()
        if self._closing is not None:
            self._closing.cancel()
        await self.client.aclose()


def _user_token(caller: Caller) -> str | None:
    """Return the token that the caller's project sends besides its key; None if the key is the credential."""
    return caller.token if caller.token is not None and caller.smelt_id is None and is_jwt(caller.token) else None


def current_clients(request: Request) -> Clients:
    """Return the shared clients of the running application."""
    clients: Clients = request.app.state.clients
    return clients


SharedClients = Annotated[Clients, Depends(current_clients)]
