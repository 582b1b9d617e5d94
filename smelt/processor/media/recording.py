"""A decoded recording on disk: 16 kHz, mono, 16 bits, read through a memory map."""

from dataclasses import dataclass, field
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
    """A decoded recording; only the parts that are read are in memory."""

    path: Path
    sample_count: int
    report: DecodingReport = field(default_factory=DecodingReport)

    @property
    def duration_s(self) -> float:
        """The duration in seconds."""
        return self.sample_count / SAMPLE_RATE

    def read(self, start: int, end: int) -> Samples:
        """Return the samples from `start` to `end` as floats between -1 and 1."""
        import numpy as np

        if start >= min(end, self.sample_count):
            return np.zeros(0, dtype=np.float32)
        stored = np.memmap(self.path, dtype=np.int16, mode="r", shape=(self.sample_count,))
        return stored[start:end].astype(np.float32) / np.float32(32768)
