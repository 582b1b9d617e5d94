"""The limits for a media file, and what probing and decoding find out about one; without native code."""

from dataclasses import dataclass, field
from typing import Any, Final

from smelt.processor.media.headers import Layout

SAMPLE_RATE: Final = 16_000
BYTES_PER_SECOND: Final = SAMPLE_RATE * 2
MAX_SEPARATE_CHANNELS: Final = 8
"""The most channels that are transcribed separately."""


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """The limits for the files of a smelt."""

    max_file_bytes: int
    max_duration_s: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The size and the declared duration of a file; `declared_s` is None if the container declares no reliable one.

    Both serve the progress and the reserved disk space; only the packets decide how long a recording is. `channels` is
    the highest number of channels of its tracks, as far as the headers declare it.
    """

    size_bytes: int
    declared_s: float | None
    channels: int = 1
    layout: Layout = field(default_factory=Layout)


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


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The length of a decoded recording, and the findings of decoding.

    `sample_count` is that of each channel; `channels` are the numbers of the separate ones, from 1, or empty for one of
    all.
    """

    sample_count: int
    report: DecodingReport = field(default_factory=DecodingReport)
    channels: tuple[int, ...] = ()


def bytes_needed(probed: Probe, limits: MediaLimits, *, is_separate: bool = False) -> int:
    """Return the maximum size of the decoded recording on disk."""
    # Headers of raw AAC omit the number; such a file is not probed further.
    channels = min(probed.channels or 2, MAX_SEPARATE_CHANNELS) if is_separate else 1
    return int(min(probed.declared_s or limits.max_duration_s, limits.max_duration_s) * BYTES_PER_SECOND) * channels
