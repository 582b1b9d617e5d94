"""The segments of one run of the model, in seconds from the start of the span."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment
from faster_whisper.transcribe import Word as FoundWord

from smelt.contract.state import Word


@dataclass(frozen=True, kw_only=True)
class RawSegment:
    """A segment in seconds from the start of its span; `seek` identifies the window that it came from."""

    seek: int
    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    words: tuple[Word, ...] | None


def raw_segment_from(
    segment: Segment, *, seek: int, start: float, end: float, words: Sequence[Word] | None
) -> RawSegment:
    """Convert a segment of faster-whisper, with corrected times."""
    return RawSegment(
        seek=seek,
        start=round(start, 2),
        end=round(max(start, end), 2),
        text=segment.text.strip(),
        avg_logprob=float(segment.avg_logprob),
        no_speech_prob=float(segment.no_speech_prob),
        compression_ratio=float(segment.compression_ratio),
        words=None if words is None else tuple(words),
    )


def words_of(segment: Segment, model: WhisperModel) -> list[FoundWord] | None:
    """Return the words of a segment, limited to it: the first starts no earlier than the model's timestamp.

    Word alignment attributes a pause to the following word; faster-whisper corrects only pauses above 0.5 s.
    """
    words: list[FoundWord] | None = segment.words
    if not words:
        return words
    start = max(words[0].start, min(_marked_start(segment, model), words[0].end))
    words[0] = replace(words[0], start=start)
    words[-1] = replace(words[-1], end=max(words[-1].start, min(words[-1].end, segment.end)))
    return words


def _marked_start(segment: Segment, model: WhisperModel) -> float:
    """Return the model's own timestamp before a segment, in seconds; `segment.start` is that of its first word."""
    first_mark: int = model.hf_tokenizer.token_to_id("<|notimestamps|>") + 1
    if not segment.tokens or segment.tokens[0] < first_mark:
        return float(segment.start)
    ticks = segment.tokens[0] - first_mark
    return float(segment.seek / model.frames_per_second + ticks * model.time_precision)


def word_from(found: FoundWord, start: float, end: float) -> Word:
    """Convert a word of faster-whisper, with corrected times."""
    return Word(
        word=found.word, start=round(start, 2), end=round(end, 2), probability=round(float(found.probability), 3)
    )
