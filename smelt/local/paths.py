"""Where a stack keeps what in its folder."""

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from smelt.local.account import current_account, database_account
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
        """The folder of Postgres's Unix socket; among the temporary files when this one's path is unfit for sockets.

        It is unfit as well when PostgREST, which root runs as another user, can't reach it.
        """
        inside = self.folder / "sockets"
        # Connection strings take a comma for the end of a host.
        is_short_and_plain = len(os.fsencode(inside)) <= MAX_SOCKET_FOLDER_CHARS and not set(str(inside)) & set(',"\\')
        if is_short_and_plain and database_account().may_reach((inside,)):
            return inside
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"smelt-{os.geteuid()}-{name}"

    def log(self, process: str) -> Path:
        """The log of one process."""
        return self.logs / f"{process}.log"

    def make(self) -> "StackPaths":
        """Make the folders that nobody else makes, and put large logs aside.

        Raises `LocalPermanentError` on a full disk, and for folders of another user, who could put links in them.
        """
        check_room(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.folder.stat().st_uid not in (os.geteuid(), 0):
            raise LocalPermanentError(f"{self.folder} belongs to another user; choose another folder")
        # As Postgres keeps its own: what users upload, and ask for, is not for everybody who works on this machine.
        for private in (self.storage, self.logs):
            current_account().private_folder(private)
        for log in self.logs.glob("*.log"):
            if log.lstat().st_size > MAX_LOG_BYTES:
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


def temporary_folder() -> Path:
    """Make a folder for a stack that is thrown away."""
    account = database_account()
    # The name is short, since a Unix socket goes in there.
    folder = Path(tempfile.mkdtemp(prefix="smelt-"))
    if account.name is not None:
        # Its user passes this folder on the way to those of its own; what is private has a closed folder in here.
        folder.chmod(0o711)
    return folder


def cache_folder() -> Path:
    """Answer where fetched programs and prepared data folders are kept for all stacks of this user.

    Raises `LocalPermanentError` when somebody else could have put a program in there.
    """
    preferred = platformdirs.user_cache_path("smelt")
    with suppress(OSError):
        preferred.mkdir(parents=True, exist_ok=True)
        # With `sudo`, or `su`, the home may be that of another user.
        if preferred.stat().st_uid == os.geteuid():
            return preferred
    # A user without a home. Anybody may have made a folder of this name.
    folder = Path(tempfile.gettempdir()) / f"smelt-cache-{os.geteuid()}"
    return current_account().private_folder(folder)
