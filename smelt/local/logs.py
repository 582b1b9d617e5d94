"""Reads the log files of a stack."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from smelt.local.files import open_binary

TAIL_BYTES: Final = 16_384
POLL_INTERVAL_S: Final = 0.2


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
            file.seek(max(self._start, size - TAIL_BYTES))
            return file.read().decode(errors="replace")


async def follow(paths: Sequence[Path]) -> AsyncIterator[tuple[Path, str]]:
    """Yield each new line of these files with its path, without end."""
    offsets = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    while True:
        for path in paths:
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
