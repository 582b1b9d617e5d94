"""One stack a folder: a lock that ends with the process that holds it, however that ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from smelt.local.errors import LocalPermanentError
from smelt.local.files import open_text

TIMEOUT_S: Final = 0.5
PAUSE_S: Final = 0.01


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of a folder; raise `LocalPermanentError` when a stack is running there, or it is not our file."""
    with open_text(path, "a+") as file:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                # Somebody may only be looking.
                if time.monotonic() > deadline:
                    raise LocalPermanentError(f"a stack is already running in {path.parent}") from exc
                time.sleep(PAUSE_S)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def holder(path: Path) -> int | None:
    """Answer the process that holds the lock, None when nobody does.

    Raises `LocalPermanentError` when the lock is neither our file nor root's.
    """
    with suppress(FileNotFoundError), open_text(path, "r", os.geteuid(), 0) as file:
        while True:
            try:
                # Shared: those who only look don't keep each other out.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                with suppress(ValueError):
                    return int(file.read())
                # It took the lock a moment ago and has not written its number yet.
                time.sleep(PAUSE_S)
            else:
                return None
    return None
