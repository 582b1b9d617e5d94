"""A Supabase project as smelt sees it."""

import asyncio
from types import TracebackType
from typing import Self
from uuid import UUID

from smelt.backend.audio import AudioStore
from smelt.backend.auth import ProjectAuth
from smelt.backend.pool import Pool
from smelt.backend.realtime import RealtimeConnection, RealtimeTimings
from smelt.backend.rpc import Rpc
from smelt.backend.tokens import TokenCallable, TokenSource, user_id
from smelt.errors import Unauthorized


class Project:
    """One project and one caller: functions, recordings and Realtime over one pool of connections.

    `key` is any key of the project, in either form. `access_token` is a user's, or a function that answers a fresh one
    whenever it is asked.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        access_token: str | TokenCallable | None = None,
        timeout_s: float = 20.0,
        pace: RealtimeTimings | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._tokens = tokens = TokenSource(key, access_token)
        self._http = Pool(ProjectAuth(key, tokens), timeout_s)
        self.rpc = Rpc(self.url, self._http)
        self.audio = AudioStore(self.url, self._http)
        self.realtime = RealtimeConnection(self.url, key, tokens, self._http, pace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def user_id(self) -> UUID:
        """Return the signed-in user; raises `Unauthorized` without one, `Unavailable` when a token can't be renewed."""
        token = await self._tokens.current()
        signed_in = None if token is None else user_id(token)
        if signed_in is None:
            raise Unauthorized("sign in first: this call needs the access_token of a user")
        return signed_in

    async def aclose(self) -> None:
        """Leave Realtime and close all connections; whoever is cancelled meanwhile leaves it to end by itself."""
        try:
            await self.realtime.close()
        finally:
            await asyncio.shield(self._http.aclose())
