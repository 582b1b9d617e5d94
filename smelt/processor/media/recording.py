"""A decoded recording on disk: 16 kHz, mono, 16 bits, read through a memory map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
BYTES_PER_SECOND: Final = SAMPLE_RATE * 2

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A decoded recording; only the parts that are read are in memory."""

    path: Path
    sample_count: int

    @property
    def duration_s(self) -> float:
        """The duration in seconds."""
        return self.sample_count / SAMPLE_RATE

    def read(self, start: int, end: int) -> Samples:
        """Return the samples from `start` to `end` as floats between -1 and 1."""
        if start >= min(end, self.sample_count):
            return np.zeros(0, dtype=np.float32)
        stored = np.memmap(self.path, dtype=np.int16, mode="r", shape=(self.sample_count,))
        return stored[start:end].astype(np.float32) / np.float32(32768)
