"""Merges the transcripts of separate channels into one, in which each channel is a speaker. Pure."""

from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final

from smelt.contract.work import SavedSegment
from smelt.processor.speech.words import words_of

Power = Callable[[int, float, float], float]
"""Returns the mean square of a channel, by its place, between two times in seconds."""

# 6 dB: bleed is quieter by more, two microphones for one voice by less.
_MIN_BLEED_RATIO: Final = 4.0
_MIN_SHARED: Final = 0.7
# Two speakers may utter the same word at a time, but not the same sentence.
_MIN_SENTENCE_WORDS: Final = 4
# A channel with less text of its own is the voice of another one, in which the model has understood other words: one of
# eight on an old tape.
_MIN_OWN_SHARE: Final = 0.2
# Each channel has its own windows, which end segments in different places.
_TOLERANCE_S: Final = 1.0


def speaker_label(channel: int) -> str:
    """Return the label of the speaker of a channel, by its number."""
    return f"Speaker {channel}"


def merged_segments(
    transcripts: Sequence[Sequence[SavedSegment]], labels: Sequence[str], power: Power, first_index: int
) -> tuple[SavedSegment, ...]:
    """Return the segments of all channels by their start, without those that are the voice of another channel."""
    spoken = [
        (segment, place)
        for place, segments in enumerate(transcripts)
        for segment in _without_bleed(segments, place, transcripts, power)
    ]
    spoken.sort(key=lambda pair: (pair[0].start, pair[1]))
    return tuple(
        segment.model_copy(update={"index": first_index + n, "speaker": labels[place]})
        for n, (segment, place) in enumerate(spoken)
    )


def _without_bleed(
    segments: Sequence[SavedSegment], place: int, transcripts: Sequence[Sequence[SavedSegment]], power: Power
) -> list[SavedSegment]:
    def kept(min_words: int) -> list[SavedSegment]:
        return [s for s in segments if not any(_is_bleed(s, place, n, transcripts, power, min_words) for n in others)]

    others = [n for n in range(len(transcripts)) if n != place]
    sentences = kept(_MIN_SENTENCE_WORDS)
    if 2 * _word_count(sentences) >= _word_count(segments):
        return sentences
    # If most of a channel is the voice of another one, so are its short segments.
    rest = kept(1)
    if _word_count(rest) >= _MIN_OWN_SHARE * _word_count(segments):
        return rest
    return [segment for segment in rest if not any(_is_covered(segment, transcripts[n]) for n in others)]


def _is_covered(segment: SavedSegment, others: Sequence[SavedSegment]) -> bool:
    """Return True if another channel has text during half of a segment."""
    shared_s = sum(max(0.0, min(segment.end, one.end) - max(segment.start, one.start)) for one in others)
    return 2 * shared_s >= segment.end - segment.start


def _is_bleed(
    segment: SavedSegment,
    place: int,
    other: int,
    transcripts: Sequence[Sequence[SavedSegment]],
    power: Power,
    min_words: int,
) -> bool:
    """Return True if another channel has the same words at the same time, and a better claim to them."""
    words = words_of(segment.text)
    beside = [
        word
        for one in transcripts[other]
        if one.start < segment.end + _TOLERANCE_S and segment.start - _TOLERANCE_S < one.end
        for word in words_of(one.text)
    ]
    blocks = SequenceMatcher(None, words, beside, autojunk=False).get_matching_blocks()
    if not words or sum(block.size for block in blocks) < _MIN_SHARED * len(words):
        return False
    own, others = (power(one, segment.start, segment.end) for one in (place, other))
    if others >= _MIN_BLEED_RATIO * own:
        return True
    # Of channels with about the same voice, the first one keeps all of it, so that the speaker does not alternate.
    return len(words) >= min_words and other < place and own < _MIN_BLEED_RATIO * others


def _word_count(segments: Iterable[SavedSegment]) -> int:
    return sum(len(words_of(segment.text)) for segment in segments)
