"""What a client may leave behind: tasks, sockets and other open files, threads."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

FILES = Path("/proc/self/fd")


@asynccontextmanager
async def nothing_left_behind(within_s: float = 30.0) -> AsyncIterator[None]:
    """Whatever is opened inside is gone when it ends, or soon after."""
    before = _held()
    yield
    deadline = time.monotonic() + within_s
    while left := _held() - before:
        gc.collect()
        assert time.monotonic() < deadline, f"still there: {left}"
        await asyncio.sleep(0.05)


def _held() -> set[object]:
    return {*asyncio.all_tasks(), *threading.enumerate(), *_open_files()}


def _open_files() -> set[str]:
    """Names of what is open; each socket has one of its own."""
    names = set()
    for descriptor in os.listdir(FILES):
        with suppress(FileNotFoundError):  # The one that this reads from.
            names.add(str((FILES / descriptor).readlink()))
    return names
