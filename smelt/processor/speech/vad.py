"""Detects the speech in a span, with the Silero model of faster-whisper."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from smelt.processor.media.recording import SAMPLE_RATE, Samples
from smelt.processor.speech.spans import quietest

# The value of faster-whisper for its batched mode.
_SHORT_PAUSE_MS: Final = 160
# The values of faster-whisper, in samples.
_MIN_LONG_PAUSE: Final = 2 * SAMPLE_RATE
_PADDING: Final = SAMPLE_RATE * 2 // 5
# Times in a segment that spans a longer pause would be wrong.
_MIN_REMOVED_PAUSE: Final = SAMPLE_RATE
# A segment that has less speech than this in a clip belongs to the neighboring clip: timestamps of the model are
# imprecise. The padding of clips, 0.4 s of silence, does not count.
_MAX_OVERHANG_S: Final = 0.3
# Detection misses speech below about -35 dBFS.
_QUIET_LEVEL: Final = 0.03
_TARGET_LEVEL: Final = 0.1
_MAX_GAIN: Final = 300.0


@dataclass(frozen=True)
class Clip:
    """A part of a span that is speech, in samples from the start of the span."""

    start: int
    end: int


class SpeechAudio:
    """The speech of a span without its silence, and the mapping of its times to times of the span."""

    def __init__(self, samples: Samples, voiced: Sequence[Clip], clips: Sequence[Clip]) -> None:
        """Take the clips from `samples`; each of `voiced`, the speech without padding, is inside a clip."""
        self.clips = clips
        self._span_samples = samples
        self._span_voiced = voiced
        self.samples: Samples = (
            np.concatenate([samples[c.start : c.end] for c in clips]) if clips else np.zeros(0, dtype=np.float32)
        )
        # The first sample of each clip in the speech, and the end of the last one.
        self._edges = list(accumulate((c.end - c.start for c in clips), initial=0))
        self.voiced = [self._in_speech(clip) for clip in voiced]
        self.pauses = [
            edge
            for edge, (before, after) in zip(self._edges[1:], pairwise(clips), strict=False)
            if after.start - before.end >= _MIN_REMOVED_PAUSE
        ]
        """The samples of the speech at which a pause was removed."""

    def before(self, position: int) -> "SpeechAudio":
        """Return the speech before a sample of it."""
        end = self.span_position(position)
        voiced, clips = (
            [Clip(clip.start, min(clip.end, end)) for clip in given if clip.start < end]
            for given in (self._span_voiced, self.clips)
        )
        return SpeechAudio(self._span_samples[:end], voiced, clips)

    def span_position(self, position: int) -> int:
        """Map a sample of the speech to a sample of the span; the end of the speech to the end of its last clip."""
        return self._to_span(position, self._clip_at(position)) if self.clips else 0

    def span_times(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Map the times of a segment in the speech to seconds from the start of the span.

        A segment that has less than 0.3 s of speech in a clip, and less than half of its length, does not start or end
        in this clip: otherwise, it would cover the silence beside the clip.
        """
        start, end = round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE)
        first, last = self._clip_at(start), self._clip_at(end - 1)
        max_overhang = min(_MAX_OVERHANG_S * SAMPLE_RATE, (end - start) / 2)
        if first < last and self._speech_between(start, self._edges[first + 1]) < max_overhang:
            first, start = first + 1, self._edges[first + 1]
        if first < last and self._speech_between(self._edges[last], end) < max_overhang:
            last, end = last - 1, self._edges[last]
        return self._to_span(start, first) / SAMPLE_RATE, self._to_span(end, last) / SAMPLE_RATE

    def word_times(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Map the times of a word, in the clip of its middle: no silence is inside a word."""
        clip = self._clip_at(round((start_s + end_s) / 2 * SAMPLE_RATE))
        low, high = self._edges[clip], self._edges[clip + 1]
        start, end = (min(max(round(time_s * SAMPLE_RATE), low), high) for time_s in (start_s, end_s))
        return self._to_span(start, clip) / SAMPLE_RATE, self._to_span(end, clip) / SAMPLE_RATE

    def cuts(self, max_samples: int) -> list[int]:
        """Return where to cut the speech so that each part has at most `max_samples`.

        Cuts are at the edges of clips; a longer clip is cut in its quiet places.
        """
        cuts = [0]
        for edge, following in pairwise(self._edges):
            if following - cuts[-1] > max_samples and edge > cuts[-1]:
                cuts.append(edge)
            while following - cuts[-1] > max_samples:
                search = cuts[-1] + max_samples * 3 // 4
                cuts.append(search + quietest(self.samples[search : cuts[-1] + max_samples]))
        return cuts

    def _speech_between(self, start: int, end: int) -> int:
        """Return the number of samples that are speech between two samples of it."""
        return sum(max(0, min(clip.end, end) - max(clip.start, start)) for clip in self.voiced)

    def _clip_at(self, position: int) -> int:
        return min(max(bisect_right(self._edges, position) - 1, 0), len(self.clips) - 1)

    def _to_span(self, position: int, clip: int) -> int:
        return self.clips[clip].start + position - self._edges[clip]

    def _in_speech(self, voiced: Clip) -> Clip:
        clip = bisect_right(self.clips, voiced.start, key=lambda clip: clip.start) - 1
        offset = self._edges[clip] - self.clips[clip].start
        return Clip(voiced.start + offset, voiced.end + offset)


def amplified(samples: Samples) -> Samples:
    """Return the samples of a span, amplified if they are so quiet that the detection would miss speech."""
    level = float(np.percentile(np.abs(samples), 99.5)) if len(samples) else 0.0
    if not 0.0 < level < _QUIET_LEVEL:
        return samples
    gain = np.float32(min(_TARGET_LEVEL / level, _MAX_GAIN))
    louder: Samples = np.clip(samples * gain, -1.0, 1.0)
    return louder


def find_speech(samples: Samples, *, max_clip_s: float | None = None) -> SpeechAudio:
    """Return the speech of a span, without its pauses of two seconds or more.

    With `max_clip_s`, each pause of 0.16 s ends a clip, and no clip is longer.
    """
    voiced = find_voiced(samples, None if max_clip_s is None else max_clip_s - 2 * _PADDING / SAMPLE_RATE)
    if max_clip_s is not None:
        return SpeechAudio(samples, voiced, padded(voiced, len(samples)))
    clips = merged(voiced, _MIN_LONG_PAUSE)
    if clips and len(samples) - clips[-1].end < _MIN_LONG_PAUSE:
        clips[-1] = Clip(clips[-1].start, len(samples))
    return SpeechAudio(samples, voiced, padded(clips, len(samples)))


def find_voiced(samples: Samples, max_clip_s: float | None = None) -> list[Clip]:
    """Return the speech of a span without padding; each pause of 0.16 s ends a clip."""
    options = VadOptions(
        min_silence_duration_ms=_SHORT_PAUSE_MS,
        speech_pad_ms=0,
        max_speech_duration_s=float("inf") if max_clip_s is None else max_clip_s,
    )
    return [Clip(found["start"], found["end"]) for found in get_speech_timestamps(samples, options)]


def merged(clips: Sequence[Clip], min_pause: int) -> list[Clip]:
    """Join neighbors with a pause of less than `min_pause` samples."""
    joined: list[Clip] = []
    for clip in clips:
        if joined and clip.start - joined[-1].end < min_pause:
            joined[-1] = Clip(joined[-1].start, clip.end)
        else:
            joined.append(clip)
    return joined


def padded(clips: Sequence[Clip], sample_count: int) -> list[Clip]:
    """Extend each clip by 0.4 s into the silence on both sides; neighbors share a shorter pause."""
    ends = [min(clip.end + _PADDING, (clip.end + after.start) // 2) for clip, after in pairwise(clips)]
    starts = [max(clip.start - _PADDING, end) for clip, end in zip(clips[1:], ends, strict=True)]
    if not clips:
        return []
    return [
        Clip(start, end)
        for start, end in zip(
            [max(0, clips[0].start - _PADDING), *starts],
            [*ends, min(sample_count, clips[-1].end + _PADDING)],
            strict=True,
        )
    ]


def union_length(clips: Sequence[Clip]) -> int:
    """Return the samples of a span that are in at least one clip; clips may overlap."""
    reached = length = 0
    for clip in sorted(clips, key=lambda clip: clip.start):
        length += max(0, clip.end - max(clip.start, reached))
        reached = max(reached, clip.end)
    return length


def speech_s(clips: Sequence[Clip], from_s: float = 0.0) -> float:
    """Return the seconds of speech in a span, from a time in it on."""
    start = from_s * SAMPLE_RATE
    return sum(max(0.0, clip.end - max(clip.start, start)) for clip in clips) / SAMPLE_RATE
