"""Where a stack keeps what in its folder."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from smelt.local.errors import LocalPermanentError

MAX_SOCKET_FOLDER_CHARS: Final = 80
"""Bytes; the path of a Unix socket has room for about a hundred."""

MIB: Final = 1024**2
MIN_FREE_BYTES: Final = 64 * MIB
"""A new stack takes two thirds of that."""

MAX_LOG_BYTES: Final = 16 * MIB
"""Above that a start begins a new file and keeps the old one."""


@dataclass(frozen=True)
class StackPaths:
    """The files and folders of the stack in `folder`."""

    folder: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.folder / "lock"

    @property
    def state(self) -> Path:
        """Tells where the running stack is reached."""
        return self.folder / "stack.json"

    @property
    def data(self) -> Path:
        """The data folder of Postgres."""
        return self.folder / "postgres"

    @property
    def storage(self) -> Path:
        """The bytes of stored objects."""
        return self.folder / "storage"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.folder / "logs"

    @property
    def sockets(self) -> Path:
        """The folder of Postgres's Unix socket; among the temporary files when this one's path is unfit for sockets."""
        inside = self.folder / "sockets"
        # Connection strings take a comma for the end of a host.
        if len(os.fsencode(inside)) <= MAX_SOCKET_FOLDER_CHARS and not set(str(inside)) & set(',"\\'):
            return inside
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"smelt-{os.geteuid()}-{name}"

    def log(self, process: str) -> Path:
        """The log of one process."""
        return self.logs / f"{process}.log"

    def make(self) -> "StackPaths":
        """Make the folders that nobody else makes, and put large logs aside; raise `LocalPermanentError` on a full disk."""
        check_room(self.folder)
        for folder in (self.folder, self.logs, self.storage):
            folder.mkdir(parents=True, exist_ok=True)
        # As Postgres keeps its own: what users upload, and ask for, is not for everybody who works on this machine.
        for private in (self.storage, self.logs):
            private.chmod(0o700)
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > MAX_LOG_BYTES:
                log.replace(log.with_suffix(".old"))
        return self


def check_room(folder: Path) -> None:
    """Raise `LocalPermanentError` when the disk that holds a folder, or will, has no room for a stack."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(there).free
    if free_bytes < MIN_FREE_BYTES:
        raise LocalPermanentError(
            f"the disk that holds {folder} is full: a stack needs {MIN_FREE_BYTES // MIB} MiB, and "
            f"{free_bytes // MIB} MiB are free"
        )


def cache_folder() -> Path:
    """Answer where fetched programs and prepared data folders are kept for all stacks of this user."""
    preferred = platformdirs.user_cache_path("smelt")
    try:
        preferred.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A user without a home.
        return Path(tempfile.gettempdir()) / f"smelt-cache-{os.geteuid()}"
    return preferred
