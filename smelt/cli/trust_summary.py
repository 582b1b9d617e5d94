"""Describes the trust of a transcript in one line, for people."""

from collections.abc import Iterator, Sequence
from typing import Final

from smelt.contract.state import Stretch, Trust
from smelt.transcripts.formats import span

_MAX_PLACES: Final = 5
_MIN_UNTRANSCRIBED_S: Final = 1.0
_MIN_UNCERTAIN: Final = 0.1


def trust_summary(trust: Trust | None) -> str:
    """Return what a reader of the transcript should know, as clauses; empty if there is nothing to report."""
    return "" if trust is None else "; ".join(_clauses(trust))


def _clauses(trust: Trust) -> Iterator[str]:
    if trust.untranscribed_seconds is not None and trust.untranscribed_seconds >= _MIN_UNTRANSCRIBED_S:
        yield f"{_amount(trust.untranscribed_seconds)} of speech not transcribed{_places(trust.untranscribed)}"
    if trust.damaged_seconds:
        yield f"{_amount(trust.damaged_seconds)} of the recording damaged{_places(trust.damaged)}"
    if trust.clock_jumps:
        jumps = "a jump" if trust.clock_jumps == 1 else f"{trust.clock_jumps} jumps"
        yield f"{jumps} of the recording's clock, after which times are those of the sound alone"
    if trust.track is not None:
        count = "" if trust.track_count is None else f" of {trust.track_count}"
        yield f"audio track {trust.track}{count} transcribed"
    if trust.channel is not None:
        yield f"only channel {trust.channel} transcribed, because the channels cancel each other out"
    if trust.uncertain_speakers is not None and trust.uncertain_speakers >= _MIN_UNCERTAIN:
        yield f"speakers uncertain in {trust.uncertain_speakers:.0%} of the speech".replace("%", " %")
    if len(trust.languages) > 1:
        yield "languages " + ", ".join(f"{one.language} {one.share:.0%}".replace("%", " %") for one in trust.languages)


def _amount(seconds: float) -> str:
    if seconds < 10:
        return f"{max(0.1, seconds):.1f} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _places(stretches: Sequence[Stretch]) -> str:
    """Return the times of the first stretches in parentheses, and the number of the others."""
    if not stretches:
        return ""
    more = [f"{len(stretches) - _MAX_PLACES} more"] if len(stretches) > _MAX_PLACES else []
    return f" ({', '.join([span(*stretch) for stretch in stretches[:_MAX_PLACES]] + more)})"
