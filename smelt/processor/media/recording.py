"""A decoded recording on disk: 16 kHz, 16 bits, read through a memory map."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from smelt.processor.media.values import BYTES_PER_SECOND, SAMPLE_RATE, DecodingReport

# A worker handles recordings, and their samples are read by its child: it runs without numpy.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BYTES_PER_SECOND", "SAMPLE_RATE", "DecodingReport", "Recording", "Samples"]

Samples: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True)
class Recording:
    """A decoded recording; only the parts that are read are in memory.

    `sample_count` is that of each channel. `channels` are the numbers of its separate channels, whose samples alternate
    in the file; without them, it is mono. `place` is that of the channel to read.
    """

    path: Path
    sample_count: int
    report: DecodingReport = field(default_factory=DecodingReport)
    channels: tuple[int, ...] = ()
    place: int = 0

    @property
    def width(self) -> int:
        """The number of channels in the file."""
        return max(1, len(self.channels))

    def separated(self) -> "tuple[Recording, ...]":
        """Return a recording for each channel."""
        return tuple(replace(self, place=place) for place in range(self.width))

    @property
    def duration_s(self) -> float:
        """The duration in seconds."""
        return self.sample_count / SAMPLE_RATE

    def read(self, start: int, end: int) -> Samples:
        """Return the samples of a channel from `start` to `end` as floats between -1 and 1."""
        import numpy as np

        if start >= min(end, self.sample_count):
            return np.zeros(0, dtype=np.float32)
        stored = np.memmap(self.path, dtype=np.int16, mode="r", shape=(self.sample_count, self.width))
        return stored[start:end, self.place].astype(np.float32) / np.float32(32768)
