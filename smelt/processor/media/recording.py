"""A decoded recording on disk: 16 kHz, mono, 16 bits, read through a memory map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
BYTES_PER_SECOND: Final = SAMPLE_RATE * 2

Samples = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class DecodingReport:
    """The findings of decoding.

    `damaged` are the parts that could not be decoded, in seconds: silence in the recording, or after its end if the
    file is truncated. `track` and `track_count` are set if there are several audio tracks, `channel` if one was taken
    because the mix of all cancels out; both count from 1.
    """

    damaged: tuple[tuple[float, float], ...] = ()
    clock_jumps: int = 0
    track: int | None = None
    track_count: int | None = None
    channel: int | None = None

    def trust(self) -> dict[str, Any]:
        """Return the part of the trust report that decoding knows; empty for an intact recording of one track."""
        damaged_s = sum(end_s - start_s for start_s, end_s in self.damaged)
        found = {
            "damaged_seconds": round(damaged_s, 2) if self.damaged else None,
            "damaged": [list(interval) for interval in self.damaged] or None,
            "clock_jumps": self.clock_jumps or None,
            "track": self.track,
            "track_count": self.track_count,
            "channel": self.channel,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Recording:
    """A decoded recording; only the parts that are read are in memory."""

    path: Path
    sample_count: int
    report: DecodingReport = DecodingReport()

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
