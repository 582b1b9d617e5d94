"""Finds the turns of the speakers of one recording."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speakers.clusters import cluster
from smelt.processor.speakers.embedding import VoiceModel
from smelt.processor.speakers.turns import Diarization, turns, windows
from smelt.processor.speech.vad import Clip, amplified, find_voiced, merged

# Speakers alternate with shorter pauses than these.
_MIN_PAUSE: Final = 3 * SAMPLE_RATE // 10
# The part of a recording that is in memory at a time.
_PART: Final = 300 * SAMPLE_RATE
_WINDOWS_AT_A_TIME: Final = 64


def diarize(recording: Recording, model: VoiceModel, on_share: Callable[[float], None]) -> Diarization:
    """Return who speaks when; `on_share` is called with the share that is done, 0 to 1."""
    clips = [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in _clips(recording)]
    spoken = windows(clips)
    if not spoken:
        return Diarization([], 0.0)
    vectors = []
    for at in range(0, len(spoken), _WINDOWS_AT_A_TIME):
        batch = spoken[at : at + _WINDOWS_AT_A_TIME]
        parts = [recording.read(round(one.start * SAMPLE_RATE), round(one.end * SAMPLE_RATE)) for one in batch]
        vectors.append(model.embeddings(parts))
        on_share(min(1.0, (at + len(batch)) / len(spoken)))
    found = cluster(np.concatenate(vectors))
    return Diarization(turns(clips, spoken, found.labels), found.uncertain)


def _clips(recording: Recording) -> Iterator[tuple[int, int]]:
    """Yield the speech of a recording, in samples."""
    for first in range(0, recording.sample_count, _PART):
        samples = amplified(recording.read(first, min(first + _PART, recording.sample_count)))
        clips: list[Clip] = merged(find_voiced(samples), _MIN_PAUSE)
        yield from ((first + clip.start, first + clip.end) for clip in clips)
