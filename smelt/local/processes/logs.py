"""Reads the log files of a stack, and rotates them while it runs."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from smelt.local.files import open_binary, open_text

logger = logging.getLogger(__name__)

TAIL_BYTES: Final = 16_384
POLL_INTERVAL_S: Final = 0.2
MAX_LOG_BYTES: Final = 16 * 1024**2
"""A larger log file is rotated; one old file is kept."""

ROTATION_INTERVAL_S: Final = 10.0


class LogTail:
    """The part of a log file that is written after the creation of this object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    def last_line(self) -> str:
        """Return the last line that reports an error, else the last line, for an error message."""
        lines = self.text().splitlines()
        errors = [line for line in lines if any(mark in line for mark in ("FATAL", "ERROR", "error", "could not"))]
        return (errors or [line for line in lines if line.strip()] or ["no output"])[-1].strip()

    def text(self) -> str:
        """Return the end of the new text, at most `TAIL_BYTES`."""
        if not self._path.exists():
            return ""
        with open_binary(self._path, "rb") as file:
            size = file.seek(0, 2)
            start = self._start if self._start <= size else 0
            file.seek(max(start, size - TAIL_BYTES))
            return file.read().decode(errors="replace")


async def keep_rotating(folder: Path, interval_s: float = ROTATION_INTERVAL_S) -> None:
    """Rotate the log files of a folder whenever they are too large."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await asyncio.to_thread(rotate, folder)
        except OSError as exc:
            logger.warning("cannot rotate the logs: %s", exc)


def rotate(folder: Path) -> None:
    """Copy each log file that is too large to one with the suffix `.old`, and empty it.

    The processes keep their files open for appending, so that they continue at the start. Lines that they write between
    the copy and the truncation are lost.
    """
    for log in folder.glob("*.log"):
        if log.lstat().st_size > MAX_LOG_BYTES:
            with open_binary(log, "rb") as source, open_binary(log.with_suffix(".old"), "ab") as target:
                target.truncate(0)
                shutil.copyfileobj(source, target)
            with open_text(log, "w"):
                pass


async def follow(paths: Sequence[Path]) -> AsyncIterator[tuple[Path, str]]:
    """Yield each new line of these files with its path, without end."""
    offsets = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    while True:
        for path in paths:
            if path.exists() and path.stat().st_size < offsets[path]:
                offsets[path] = 0  # It was rotated.
            for line in _whole_lines(path, offsets[path]):
                offsets[path] += len(line)
                yield path, line.decode(errors="replace").rstrip()
        await asyncio.sleep(POLL_INTERVAL_S)


def _whole_lines(path: Path, offset: int) -> list[bytes]:
    if not path.exists():
        return []
    with open_binary(path, "rb") as file:
        file.seek(offset)
        return [line for line in file if line.endswith(b"\n")]
