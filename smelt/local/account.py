"""The operating system user that runs Postgres and PostgREST; root starts them as an unprivileged user."""

import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smelt.local.errors import LocalPermanentError

CANDIDATES: Final = ("postgres", "nobody")


@dataclass(frozen=True)
class OsAccount:
    """The user that owns the database files and runs the servers; `name` is None for the current user."""

    uid: int
    gid: int
    name: str | None = None

    def make_owner_of(self, path: Path) -> None:
        """Make this user the owner of a folder and its contents, to which no other user may have access meanwhile."""
        if self.name is not None:
            change_owner(path, self.uid, self.gid)

    def make_private_folder(self, path: Path) -> Path:
        """Create a folder that only this user and root can access.

        Raises `LocalPermanentError` if the folder exists and another user could have written to it.
        """
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        # Use the descriptor: where others can write to the parent folder, the path may be replaced at any time.
        with _open_folder(path) as folder:
            status = os.fstat(folder)
            if status.st_uid not in (os.geteuid(), self.uid) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise LocalPermanentError(
                    f"{path} belongs to another user or is writable by others; choose another folder"
                )
            os.fchmod(folder, 0o700)
            if self.name is not None:
                os.fchown(folder, self.uid, self.gid)
        return path

    def can_access(self, paths: Iterable[Path]) -> bool:
        """Return True if this user can read these paths and traverse their parent folders, or is the current user."""
        if self.name is None:
            return True
        # A path with a link leads through the folders around the link, and through those around its target.
        return all(_is_world_readable(one) for path in paths for one in {path.absolute(), path.resolve()})


def database_account() -> OsAccount:
    """Return the user to run Postgres and PostgREST as; raise `LocalPermanentError` if root finds none."""
    if os.geteuid() != 0:
        return current_account()
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsAccount(entry.pw_uid, entry.pw_gid, name)
    raise LocalPermanentError(
        "Postgres does not run as root, and this system has neither a user `postgres` nor a user `nobody`; "
        "run smelt as an unprivileged user"
    )


def current_account() -> OsAccount:
    """Return the user of this process."""
    return OsAccount(os.geteuid(), os.getegid())


def change_owner(path: Path, uid: int, gid: int) -> None:
    """Change the owner of a folder and its contents; the folder is last, so that the new owner has no access before."""
    for folder, folders, files in os.walk(path, topdown=False):
        for entry in (*folders, *files):
            os.chown(os.path.join(folder, entry), uid, gid, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)


@contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as exc:
        raise LocalPermanentError(
            f"{path} cannot be opened as a folder ({exc.strerror}); choose another folder"
        ) from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder and its contents if it exists."""
    if folder.exists():
        shutil.rmtree(folder)


def _is_world_readable(path: Path) -> bool:
    mode = path.stat().st_mode if path.is_file() else stat.S_IROTH | stat.S_IXOTH
    return bool(mode & stat.S_IROTH and mode & stat.S_IXOTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
    )
