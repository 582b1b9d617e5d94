"""Temporary folders of a worker and its smelts, removed on every exit path."""

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
_DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Workspace:
    """The folder of one worker; its lock shows other workers that it is alive."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Create a folder for one smelt, and remove it with its content at the end of the block."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def map_disk_full(self) -> Iterator[None]:
        """Raise `DiskFull` for a write that fails because the disk is full, which `require_space` can't exclude."""
        try:
            yield
        except OSError as exc:
            if exc.errno not in _DISK_FULL_ERRNOS:
                raise
            raise DiskFull(f"{self._root}: {exc.strerror}") from exc

    def require_space(self, byte_count: int = 0) -> None:
        """Raise `DiskFull` unless `byte_count` bytes and a reserve of 64 MiB are free."""
        # Cleaners of temporary folders (systemd-tmpfiles) remove one that was not written to for days.
        self._root.mkdir(exist_ok=True)
        required_bytes, free_bytes = byte_count + _RESERVE_BYTES, shutil.disk_usage(self._root).free
        if free_bytes < required_bytes:
            raise DiskFull(f"{required_bytes} bytes are needed in {self._root}, {free_bytes} are free")


@contextmanager
def workspace(parent: Path | None = None) -> Iterator[Workspace]:
    """Create the folder of a worker below `parent` (default: the system's temporary folder).

    Removes folders of killed workers first: the kernel releases a lock when its process ends. Raises `SettingsError` if
    `parent` is not writable.
    """
    base = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(base)
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = _lock_folder(root)
    except OSError as exc:
        raise SettingsError(f"SMELT_TEMP_DIR needs a writable folder, not {base}: {exc.strerror}") from exc
    with lock:
        try:
            yield Workspace(root)
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _lock_folder(root: Path) -> BinaryIO:
    # Renamed once it is locked: otherwise a worker that starts now would remove the folder as a leftover.
    unnamed = root / f"{_LOCK}.new"
    lock = unnamed.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(root / _LOCK)
    return lock


def _remove_leftovers(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            # In the system's temporary folder, other users may create a folder of this name with any content.
            if folder.lstat().st_uid != os.geteuid():
                continue
            with open(folder / _LOCK, "rb", opener=trusted_opener()) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                logger.info("removed %s of a killed worker", folder)
        except OSError:
            # Its worker is alive, is starting and has no lock yet, or it is not the folder of a worker.
            continue
