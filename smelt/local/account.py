"""As whom Postgres runs: it refuses root, so that root starts it as an unprivileged user."""

import os
import pwd
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smelt.local.errors import LocalPermanentError

CANDIDATES: Final = ("postgres", "nobody")


@dataclass(frozen=True)
class OsAccount:
    """The user that owns the database's files and runs its server; `name` is None when it is who we are."""

    uid: int
    gid: int
    name: str | None = None

    def give(self, path: Path) -> None:
        """Make this user the owner of a folder or file and of all inside."""
        if self.name is None:
            return
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        for folder, folders, files in os.walk(path):
            for entry in (*folders, *files):
                os.chown(os.path.join(folder, entry), self.uid, self.gid, follow_symlinks=False)

    def private_folder(self, path: Path) -> Path:
        """Make a folder that only this user (and root) may enter; refuse one that belongs to somebody else."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), self.uid):
            raise LocalPermanentError(f"{path} belongs to another user; choose another folder")
        path.chmod(0o700)
        self.give(path)
        return path

    def may_reach(self, paths: Iterable[Path]) -> bool:
        """Whether this user can pass all folders above these paths and read them; True when it is who we are."""
        return self.name is None or all(_open_to_others(path.resolve()) for path in paths)


def database_account() -> OsAccount:
    """Answer as whom to run Postgres; raise `LocalPermanentError` if root finds nobody."""
    if os.geteuid() != 0:
        return OsAccount(os.geteuid(), os.getegid())
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


def remove(folder: Path) -> None:
    """Remove a folder with all inside, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def _open_to_others(path: Path) -> bool:
    mode = path.stat().st_mode if path.is_file() else stat.S_IROTH | stat.S_IXOTH
    return bool(mode & stat.S_IROTH and mode & stat.S_IXOTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
    )
