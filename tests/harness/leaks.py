"""Detection of leaks of a client: tasks, sockets and other open files, threads."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

FILES = Path("/proc/self/fd")


@asynccontextmanager
async def assert_no_leaks(timeout_s: float = 30.0) -> AsyncIterator[None]:
    """Assert that all resources opened in the block are closed at its end or soon after."""
    before = _open_resources()
    yield
    deadline = time.monotonic() + timeout_s
    while left := _open_resources() - before:
        gc.collect()
        assert time.monotonic() < deadline, f"still open: {_described(left)}"
        await asyncio.sleep(0.05)


def _open_resources() -> set[object]:
    return {*asyncio.all_tasks(), *threading.enumerate(), *_open_files()}


def _described(resources: set[object]) -> list[str]:
    """Return descriptions of resources, of sockets with their addresses and state."""
    sockets = {
        str((FILES / str(connection.fd)).readlink()): f"{connection.laddr} {connection.raddr} {connection.status}"
        for connection in psutil.Process().net_connections("all")
    }
    return [" ".join(filter(None, (str(one), sockets.get(str(one))))) for one in resources]


def _open_files() -> set[str]:
    """Return the names of the open files; those of sockets are unique."""
    names = set()
    for descriptor in os.listdir(FILES):
        with suppress(FileNotFoundError):  # The descriptor of the listing itself.
            names.add(str((FILES / descriptor).readlink()))
    return names
