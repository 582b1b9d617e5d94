"""Cuts a long recording into spans of bounded length, in its quiet places. Pure.

The features of a whole span are in memory at once, so the memory of a transcription depends on the length of a span,
not of the recording. Where a span ends depends only on its start and the audio after it, so a run that resumes at the
start of a span cuts the rest like the first run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from smelt.processor.media.recording import SAMPLE_RATE, Recording, Samples

_FRAME: Final = SAMPLE_RATE // 50
_PAUSE_FRAMES: Final = 20
_SEARCH_SHARE: Final = 0.25


@dataclass(frozen=True)
class Span:
    """A part of a recording, in samples."""

    start: int
    end: int


def span_from(recording: Recording, start: int, max_span_s: float) -> Span:
    """Return the span that starts at `start`: the rest of the recording, or up to a pause near `max_span_s`.

    A pause of a recording with separate channels is one of all channels.
    """
    max_samples = int(max_span_s * SAMPLE_RATE)
    if recording.sample_count - start <= max_samples:
        return Span(start, recording.sample_count)
    search_from = start + int(max_samples * (1 - _SEARCH_SHARE))
    channels = [channel.read(search_from, start + max_samples) for channel in recording.separated()]
    return Span(start, search_from + quietest(channels[0] if len(channels) == 1 else _joint(channels)))


def _joint(channels: Sequence[Samples]) -> Samples:
    """Return samples with the energy of all channels."""
    joint: Samples = np.sqrt(np.square(np.stack(channels)).mean(axis=0))
    return joint


def quietest(samples: Samples) -> int:
    """Return the middle of the quietest 0.4 s as an offset in samples; the latest of equal ones."""
    frame_count = len(samples) // _FRAME
    if frame_count <= _PAUSE_FRAMES:
        return len(samples)
    frames = samples[: frame_count * _FRAME].reshape(frame_count, _FRAME)
    energy = np.square(frames, dtype=np.float32).mean(axis=1, dtype=np.float64)
    # Differences of a running sum, rounded: its numerical noise is below the resolution of 16 bits.
    running = np.concatenate(([0.0], np.cumsum(energy)))
    pauses = np.round(running[_PAUSE_FRAMES:] - running[:-_PAUSE_FRAMES], 12)
    latest = len(pauses) - 1 - int(np.argmin(pauses[::-1]))
    return (latest + _PAUSE_FRAMES // 2) * _FRAME
