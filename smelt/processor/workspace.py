"""A folder of its own for each worker and each smelt, removed whatever happens."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from smelt.errors import SettingsError
from smelt.processor.errors import DiskFull
from smelt.trusted_files import trusted_opener

logger = logging.getLogger(__name__)

_PREFIX: Final = "smelt-worker-"
_LOCK: Final = "lock"
_RESERVE_BYTES: Final = 64 * 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Workspace:
    """The folder of one worker; its lock tells others that the worker lives."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A folder for one smelt, gone with everything in it at the end."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Raise `DiskFull` when the disk turns out to be full after all, for others write to it, too."""
        try:
            yield
        except OSError as exc:
            if exc.errno not in _FULL:
                raise
            raise DiskFull(f"{self._root}: {exc.strerror}") from exc

    def require_space(self, byte_count: int = 0) -> None:
        """Raise `DiskFull` unless so much fits, with a reserve for others."""
        # What cleans temporary folders up takes one that nothing was written to for days.
        self._root.mkdir(exist_ok=True)
        wanted, free = byte_count + _RESERVE_BYTES, shutil.disk_usage(self._root).free
        if free < wanted:
            raise DiskFull(f"{wanted} bytes are wanted in {self._root}, {free} are free")


@contextmanager
def workspace(parent: Path | None = None) -> Iterator[Workspace]:
    """The folder of a new worker below `parent` (default: the system's temporary folder).

    What killed workers left there is removed first: a lock of the kernel's ends with its process, however that ends.
    Raises `SettingsError` for a parent that nothing can be written to.
    """
    base = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(base)
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = _locked(root)
    except OSError as exc:
        raise SettingsError(
            f"SMELT_TEMP_DIR wants a folder that can be written to, not {base}: {exc.strerror}"
        ) from exc
    with lock:
        try:
            yield Workspace(root)
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _locked(root: Path) -> BinaryIO:
    # Under its name once it is locked: a worker that starts at the same time takes it for a leftover otherwise.
    unnamed = root / f"{_LOCK}.new"
    lock = unnamed.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(root / _LOCK)
    return lock


def _remove_leftovers(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            # In the system's temporary folder anybody may make a folder of this name, with anything in it.
            if folder.lstat().st_uid != os.geteuid():
                continue
            with open(folder / _LOCK, "rb", opener=trusted_opener()) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                logger.info("removed %s, left behind by a worker that was killed", folder)
        except OSError:
            # Its worker lives, is just being born and has no lock yet, or it is not a worker's folder.
            continue
