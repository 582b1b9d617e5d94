"""Saved segments are kept, and only new ones are appended."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.work import SavedSegment
from smelt.processor.speech.resume_filter import ResumeFilter

cuts = st.sets(st.integers(1, 99), max_size=12).map(lambda found: [0, *sorted(found), 100])


def segments_between(at: list[int]) -> list[SavedSegment]:
    """Return segments of a recording of 100 s that is cut at these seconds; the text is the position."""
    return [
        SavedSegment(index=index, start=float(start), end=float(end), text=f"{start} to {end}")
        for index, (start, end) in enumerate(pairwise(at))
    ]


@given(cuts, st.data())
def test_resume_filter_skips_exactly_the_saved_segments(at: list[int], data: st.DataObject) -> None:
    whole = segments_between(at)
    saved = data.draw(st.integers(0, len(whole)))
    begin = data.draw(st.integers(0, saved))
    assert ResumeFilter(whole[:saved]).unseen(whole[begin:]) == tuple(whole[saved:])


@given(cuts, cuts, st.data())
def test_resume_filter_continues_where_the_saved_segments_end(
    before: list[int], after: list[int], data: st.DataObject
) -> None:
    saved = segments_between(before)[: data.draw(st.integers(1, len(before) - 1))]
    transcribed = segments_between(after)
    new = ResumeFilter(saved).unseen(transcribed)
    assert list(new) == transcribed[len(transcribed) - len(new) :]
    max_segment_s = max(segment.end - segment.start for segment in transcribed)
    begins_s = new[0].start if new else 100.0
    assert abs(begins_s - saved[-1].end) <= max_segment_s / 2
