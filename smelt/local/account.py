"""As whom Postgres and PostgREST run: root starts them as an unprivileged user."""

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
    """The user that owns the database's files and runs its servers; `name` is None when it is who we are."""

    uid: int
    gid: int
    name: str | None = None

    def give(self, path: Path) -> None:
        """Make this user the owner of a folder and of all inside, which nobody else may enter meanwhile."""
        if self.name is not None:
            change_owner(path, self.uid, self.gid)

    def private_folder(self, path: Path) -> Path:
        """Make a folder that only this user (and root) may enter; refuse one that others could have written to."""
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        # By descriptor: in a folder that others may write to, the path may lead elsewhere a moment later.
        with _open_folder(path) as folder:
            found = os.fstat(folder)
            if found.st_uid not in (os.geteuid(), self.uid) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise LocalPermanentError(
                    f"{path} belongs to another user, or others may write to it; choose another folder"
                )
            os.fchmod(folder, 0o700)
            if self.name is not None:
                os.fchown(folder, self.uid, self.gid)
        return path

    def may_reach(self, paths: Iterable[Path]) -> bool:
        """Whether this user can pass all folders above these paths and read them; True when it is who we are."""
        return self.name is None or all(_open_to_others(path.resolve()) for path in paths)


def database_account() -> OsAccount:
    """Answer as whom to run Postgres and PostgREST; raise `LocalPermanentError` if root finds nobody."""
    if os.geteuid() != 0:
        return current_account()
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsAccount(entry.pw_uid, entry.pw_gid, name)
    raise LocalPermanentError(
        "Postgres does not run as root, and this system has neither a user `postgres` nor `nobody`; "
        "run smelt as an ordinary user"
    )


def current_account() -> OsAccount:
    """Return the user that we are."""
    return OsAccount(os.geteuid(), os.getegid())


def change_owner(path: Path, uid: int, gid: int) -> None:
    """Change the owner of a folder and of all inside, the folder last: only then may the new owner change anything."""
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
            f"{path} is not a folder of this user ({exc.strerror}); choose another folder"
        ) from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder with all inside, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def _open_to_others(path: Path) -> bool:
    mode = path.stat().st_mode if path.is_file() else stat.S_IROTH | stat.S_IXOTH
    return bool(mode & stat.S_IROTH and mode & stat.S_IXOTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
    )
