"""A Supabase project and one caller: the entry point of the backend."""

import asyncio
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from smelt.backend.auth import ProjectAuth
from smelt.backend.pool import Pool
from smelt.backend.realtime import RealtimeConnection, RealtimeTimings
from smelt.backend.rpc import Rpc
from smelt.backend.tokens import TokenCallable, TokenSource, user_id
from smelt.errors import Unauthorized

if TYPE_CHECKING:
    from smelt.backend.audio import AudioStore


class Project:
    """One project and one caller: SQL functions, recordings and Realtime over one pool of connections.

    Args:
        key: Any key of the project: a JWT, or an opaque key (`sb_publishable_...`, `sb_secret_...`).
        access_token: The token of a user, or a function, plain or async, that returns a fresh one.
        timeout_s: The timeout of an HTTP request.
        timings: Intervals and limits of the Realtime connection; the defaults suit the hosted service.
        pool: Connections that several callers share, and that stay open; None for a pool of its own.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        access_token: str | TokenCallable | None = None,
        timeout_s: float = 20.0,
        timings: RealtimeTimings | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._tokens = tokens = TokenSource(key, access_token)
        self._http = Pool(ProjectAuth(key, tokens), timeout_s, shared=pool)
        self.rpc = Rpc(self.url, self._http)
        self.realtime = RealtimeConnection(self.url, key, tokens, self._http, timings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @cached_property
    def audio(self) -> "AudioStore":
        """The recordings. Its library is imported with the first use, which saves a tenth of the start of a worker."""
        from smelt.backend.audio import AudioStore

        return AudioStore(self.url, self._http)

    async def user_id(self) -> UUID:
        """Return the id of the signed-in user.

        Raises `Unauthorized` if nobody is signed in, `Unavailable` if the token cannot be renewed.
        """
        token = await self._tokens.current()
        signed_in = None if token is None else user_id(token)
        if signed_in is None:
            raise Unauthorized("sign in first: this call needs the access_token of a user")
        return signed_in

    async def aclose(self) -> None:
        """Leave all channels and close all connections; if cancelled, the connections still close in the background."""
        try:
            await self.realtime.close()
        finally:
            await asyncio.shield(self._http.aclose())
