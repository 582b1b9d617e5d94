"""The files and folders of a stack."""

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

MAX_SOCKET_FOLDER_BYTES: Final = 80
"""The path of a Unix socket can have about a hundred bytes."""

MIB: Final = 1024**2
MIN_FREE_BYTES: Final = 64 * MIB
"""A new stack uses two thirds of it."""


@dataclass(frozen=True)
class StackPaths:
    """The files and folders of the stack in `folder`."""

    folder: Path

    @property
    def lock(self) -> Path:
        """The lock that the supervisor holds while it runs."""
        return self.folder / "lock"

    @property
    def state(self) -> Path:
        """The addresses of the running stack."""
        return self.folder / "stack.json"

    @property
    def data(self) -> Path:
        """The data folder of Postgres."""
        return self.folder / "postgres"

    @property
    def storage(self) -> Path:
        """The contents of stored objects."""
        return self.folder / "storage"

    @property
    def logs(self) -> Path:
        """The folder of log files, one for each process."""
        return self.folder / "logs"

    @property
    def sockets(self) -> Path:
        """The folder of Postgres's Unix socket.

        It is in the system's temporary folder if the path of this one is unsuitable for sockets, or if PostgREST, which
        root runs as another user, cannot access it.
        """
        inside = self.folder / "sockets"
        # In a connection string a comma ends a host.
        is_short_and_plain = len(os.fsencode(inside)) <= MAX_SOCKET_FOLDER_BYTES and not set(str(inside)) & set(',"\\')
        if is_short_and_plain and database_account().can_access((inside,)):
            return inside
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"smelt-{os.geteuid()}-{name}"

    def log(self, process: str) -> Path:
        """Return the log file of a process."""
        return self.logs / f"{process}.log"

    def make(self) -> "StackPaths":
        """Create the folders for storage and logs.

        Raises `LocalPermanentError` on a full disk, and for folders of another user, who could plant links in them.
        """
        check_free_space(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.folder.stat().st_uid not in (os.geteuid(), 0):
            raise LocalPermanentError(f"{self.folder} belongs to another user; choose another folder")
        # Like Postgres's data folder: other users of the machine must not read uploads and logged requests.
        for private in (self.storage, self.logs):
            current_account().make_private_folder(private)
        return self


def check_free_space(folder: Path) -> None:
    """Raise `LocalPermanentError` if the disk of a folder, which need not exist yet, lacks space for a stack."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < MIN_FREE_BYTES:
        raise LocalPermanentError(
            f"the disk of {folder} is full: a stack needs {MIN_FREE_BYTES // MIB} MiB, and only "
            f"{free_bytes // MIB} MiB are free"
        )


def temporary_folder() -> Path:
    """Create a folder for an ephemeral stack."""
    account = database_account()
    # The name is short, since the folder will contain a Unix socket.
    folder = Path(tempfile.mkdtemp(prefix="smelt-"))
    if account.name is not None:
        # The servers' user must traverse this folder to reach its own. Private data is in closed subfolders.
        folder.chmod(0o711)
    return folder


def cache_folder() -> Path:
    """Return the folder with downloaded programs and template data folders for all stacks of this user.

    Raises `LocalPermanentError` if another user could have put a program there.
    """
    preferred = platformdirs.user_cache_path("smelt")
    with suppress(OSError):
        preferred.mkdir(parents=True, exist_ok=True)
        # With `sudo` or `su`, the home may belong to another user.
        if preferred.stat().st_uid == os.geteuid():
            return preferred
    # The user has no home. Any user can have created a folder of this name, so check it.
    folder = Path(tempfile.gettempdir()) / f"smelt-cache-{os.geteuid()}"
    return current_account().make_private_folder(folder)
