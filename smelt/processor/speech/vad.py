"""Detects the speech in a span, with the Silero model of faster-whisper."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Import it now: faster-whisper imports it at the first detection, which would block the event loop.
import onnxruntime  # noqa: F401
from faster_whisper.vad import SpeechTimestampsMap, VadOptions, get_speech_timestamps

from smelt.processor.media.recording import SAMPLE_RATE, Samples

# The value of faster-whisper for its batched mode.
_SHORT_PAUSE_MS = 160


@dataclass(frozen=True)
class Clip:
    """A part of a span that is speech, in samples from the start of the span."""

    start: int
    end: int


class SpeechAudio:
    """The speech of a span without its silence, and the mapping back to times of the span."""

    def __init__(self, samples: Samples, *, vad: bool) -> None:
        self.clips = clips = speech_clips(samples, VadOptions()) if vad else [Clip(0, len(samples))]
        self._times = SpeechTimestampsMap([{"start": c.start, "end": c.end} for c in clips], SAMPLE_RATE)
        self.samples: Samples = (
            np.concatenate([samples[c.start : c.end] for c in clips]) if clips else np.zeros(0, dtype=np.float32)
        )

    def span_time(self, speech_time_s: float, *, is_end: bool = False) -> float:
        """Map a time in the speech to seconds from the start of the span."""
        return float(self._times.get_original_time(speech_time_s, is_end=is_end))

    def span_times(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Map two times that belong together, such as those of a word, so that no silence falls between them."""
        chunk = self._times.get_chunk_index((start_s + end_s) / 2)
        return (
            float(self._times.get_original_time(start_s, chunk)),
            float(self._times.get_original_time(end_s, chunk)),
        )


def speech_clips(samples: Samples, options: VadOptions) -> list[Clip]:
    """Return the parts of `samples` that are speech, in order, without overlap."""
    return [Clip(found["start"], found["end"]) for found in get_speech_timestamps(samples, options)]


def speech_s(clips: Sequence[Clip], from_s: float = 0.0) -> float:
    """Return the seconds of speech in a span, from a time in it on."""
    start = from_s * SAMPLE_RATE
    return sum(max(0.0, clip.end - max(clip.start, start)) for clip in clips) / SAMPLE_RATE


def window_clips(samples: Samples, window_s: float, *, vad: bool) -> list[Clip]:
    """Cut speech in pauses into clips of at most one window, for batched transcription."""
    max_samples = int(window_s * SAMPLE_RATE)
    if not vad:
        return [Clip(start, min(start + max_samples, len(samples))) for start in range(0, len(samples), max_samples)]
    options = VadOptions(max_speech_duration_s=window_s, min_silence_duration_ms=_SHORT_PAUSE_MS)
    return merged(speech_clips(samples, options), max_samples)


def merged(clips: list[Clip], max_samples: int) -> list[Clip]:
    """Join neighbors while the joined clip, pauses included, is at most `max_samples` long."""
    joined: list[Clip] = []
    for clip in clips:
        if joined and clip.end - joined[-1].start <= max_samples:
            joined[-1] = Clip(joined[-1].start, clip.end)
        else:
            joined.append(clip)
    return joined
