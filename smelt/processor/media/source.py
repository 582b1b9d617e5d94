"""Sources of media: paths, and descriptors of files that a process can't open by name."""

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Source(Protocol):
    """A file to read, which can be opened several times; a `Path` is one."""

    @property
    def name(self) -> str:
        """The name, whose suffix helps to detect the format."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open the file at its start."""

    def stat(self) -> os.stat_result:
        """Return the status of the file."""


@dataclass(frozen=True)
class DescriptorSource:
    """A file that is open already; each `open` has a position of its own."""

    descriptor: int
    name: str

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open the file at its start; closing it does not close the descriptor."""
        return io.BufferedReader(_Reader(self.descriptor, self.name))

    def stat(self) -> os.stat_result:
        """Return the status of the file."""
        return os.fstat(self.descriptor)


class _Reader(io.RawIOBase):
    # Opening /dev/fd/N would open the file again on Linux, and share one position on macOS.
    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._position = 0
        self.name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int:
        view = memoryview(buffer)
        data = os.pread(self._descriptor, view.nbytes, self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._descriptor).st_size}
        position = starts[whence] + offset
        if position < 0:
            raise ValueError(f"position {position}")
        self._position = position
        return position
