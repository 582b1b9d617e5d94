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
async def assert_no_leaks(timeout_s: float = 30.0) -> AsyncIterator[None]:
    """Whatever is opened inside is gone when it ends, or soon after."""
    before = _open_resources()
    yield
    deadline = time.monotonic() + timeout_s
    while left := _open_resources() - before:
        gc.collect()
        assert time.monotonic() < deadline, f"still there: {left}"
        await asyncio.sleep(0.05)


def _open_resources() -> set[object]:
    return {*asyncio.all_tasks(), *threading.enumerate(), *_open_files()}


def _open_files() -> set[str]:
    """Names of what is open; each socket has one of its own."""
    names = set()
    for descriptor in os.listdir(FILES):
        with suppress(FileNotFoundError):  # The one that this reads from.
            names.add(str((FILES / descriptor).readlink()))
    return names
