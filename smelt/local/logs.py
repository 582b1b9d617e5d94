"""What the processes of a stack wrote."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from smelt.local.files import open_binary

TAIL_BYTES: Final = 16_384
PAUSE_S: Final = 0.2


class LogTail:
    """What is appended to a log file from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    def last_line(self) -> str:
        """Answer the last line that tells something, for the sentence of an error."""
        lines = self.text().splitlines()
        telling = [line for line in lines if any(mark in line for mark in ("FATAL", "ERROR", "error", "could not"))]
        return (telling or [line for line in lines if line.strip()] or ["it said nothing"])[-1].strip()

    def text(self) -> str:
        """Answer the newest part of what was appended."""
        if not self._path.exists():
            return ""
        with open_binary(self._path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - TAIL_BYTES))
            return file.read().decode(errors="replace")


async def follow(paths: Sequence[Path]) -> AsyncIterator[tuple[Path, str]]:
    """Answer each line that is appended to one of these files from now on, and never end."""
    offsets = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    while True:
        for path in paths:
            for line in _whole_lines(path, offsets[path]):
                offsets[path] += len(line)
                yield path, line.decode(errors="replace").rstrip()
        await asyncio.sleep(PAUSE_S)


def _whole_lines(path: Path, offset: int) -> list[bytes]:
    if not path.exists():
        return []
    with open_binary(path, "rb") as file:
        file.seek(offset)
        return [line for line in file if line.endswith(b"\n")]
