"""Locks of files, such as the one that allows one stack per folder; they end with their process, even by SIGKILL."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from smelt.local.errors import LocalPermanentError
from smelt.local.files import open_text

TIMEOUT_S: Final = 0.5
POLL_INTERVAL_S: Final = 0.01


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of a folder; raise `LocalPermanentError` if a stack runs there or the file is another user's."""
    with open_text(path, "a+") as file:
        deadline = time.monotonic() + TIMEOUT_S
        while not try_lock(file):
            # `holder` in another process may hold the lock for a moment.
            if time.monotonic() > deadline:
                raise LocalPermanentError(
                    f"a stack is already running in {path.parent}; stop it or choose another folder"
                )
            time.sleep(POLL_INTERVAL_S)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock, or None.

    Raises `LocalPermanentError` if the file belongs to neither the current user nor root.
    """
    with suppress(FileNotFoundError), open_text(path, "r", os.geteuid(), 0) as file:
        while True:
            # A shared lock, so that several callers of `holder` do not block each other.
            if try_lock(file, fcntl.LOCK_SH):
                return None
            file.seek(0)
            with suppress(ValueError):
                return int(file.read())
            # The holder has just acquired the lock and not written its process id yet.
            time.sleep(POLL_INTERVAL_S)
    return None


def try_lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Acquire the lock of an open file, and return False if another process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
