"""Windows of speech to compare, and the turns of speakers. Pure; times are seconds from the start of the recording."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

WINDOW_S: Final = 1.5
"""The length of a window: shorter ones distinguish voices less well, longer ones contain two speakers more often."""
_STEP_S: Final = 0.75
# A pause of this length ends a turn even if the same speaker goes on.
_MAX_PAUSE_S: Final = 1.2
# The voice detection cuts the soft beginning and end of words.
_PADDING_S: Final = 0.2


@dataclass(frozen=True)
class Window:
    """A part of a clip of speech, of `WINDOW_S` seconds, or shorter if the clip is."""

    start: float
    end: float
    clip: int

    @property
    def middle(self) -> float:
        """The time in the middle of the window."""
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Turn:
    """A time in which one speaker speaks; speakers are numbered from 1, in the order in which they begin."""

    start: float
    end: float
    speaker: int


@dataclass(frozen=True)
class Diarization:
    """The turns of all speakers by their start, and the share of speech whose speaker is uncertain, 0 to 1."""

    turns: list[Turn]
    uncertain: float


def windows(clips: Sequence[tuple[float, float]]) -> list[Window]:
    """Return overlapping windows that cover the clips; the last one of a clip ends with it."""
    return [window for place, clip in enumerate(clips) for window in _windows(place, *clip)]


def _windows(place: int, start: float, end: float) -> Iterator[Window]:
    from_s = start
    while from_s + WINDOW_S < end:
        yield Window(from_s, from_s + WINDOW_S, place)
        from_s += _STEP_S
    yield Window(max(start, end - WINDOW_S), end, place)


def turns(clips: Sequence[tuple[float, float]], spoken: Sequence[Window], clusters: Sequence[int]) -> list[Turn]:
    """Return the turns from the cluster of each window; the speaker changes halfway between two windows."""
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters), start=1)}
    found: list[Turn] = []
    for place, (start, end) in enumerate(clips):
        inside = [(window, numbers[one]) for window, one in zip(spoken, clusters, strict=True) if window.clip == place]
        changes = [
            (before.middle + after.middle) / 2
            for (before, speaker), (after, next_speaker) in pairwise(inside)
            if speaker != next_speaker
        ]
        speakers = [inside[0][1], *(after for (_, before), (_, after) in pairwise(inside) if before != after)]
        edges = [start, *changes, end]
        found += [Turn(*edge, speaker) for edge, speaker in zip(pairwise(edges), speakers, strict=True)]
    return _joined(found)


def _joined(found: Iterable[Turn]) -> list[Turn]:
    """Join turns of a speaker with a short pause between, and extend each into the pauses beside it."""
    joined: list[Turn] = []
    for turn in found:
        if joined and joined[-1].speaker == turn.speaker and turn.start - joined[-1].end < _MAX_PAUSE_S:
            joined[-1] = Turn(joined[-1].start, turn.end, turn.speaker)
        else:
            joined.append(turn)
    if not joined:
        return []
    room = [max(0.0, after.start - before.end) / 2 for before, after in pairwise(joined)]
    padding = [min(_PADDING_S, pause) for pause in room]
    return [
        Turn(max(0.0, turn.start - before), turn.end + after, turn.speaker)
        for turn, before, after in zip(joined, [_PADDING_S, *padding], [*padding, _PADDING_S], strict=True)
    ]


def speaker_at(found: Sequence[Turn], start: float, end: float) -> int | None:
    """Return the speaker with the most time between two times, else the one who speaks nearest; None without turns."""
    if not found:
        return None
    times: dict[int, float] = {}
    for turn in found:
        shared_s = min(end, turn.end) - max(start, turn.start)
        if shared_s > 0:
            times[turn.speaker] = times.get(turn.speaker, 0.0) + shared_s
    if times:
        return max(times, key=times.__getitem__)
    return min(found, key=lambda turn: max(turn.start - end, start - turn.end)).speaker
