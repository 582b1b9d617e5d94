"""What was saved stays; what is heard again is told from what is new."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.work import SavedSegment
from smelt.processor.speech.resume_filter import ResumeFilter

cuts = st.sets(st.integers(1, 99), max_size=12).map(lambda found: [0, *sorted(found), 100])


def pieces(at: list[int]) -> list[SavedSegment]:
    """A recording of 100 s cut at these seconds; the text of a piece is where it is."""
    return [
        SavedSegment(index=index, start=float(start), end=float(end), text=f"{start} to {end}")
        for index, (start, end) in enumerate(pairwise(at))
    ]


@given(cuts, st.data())
def test_resume_filter_skips_exactly_the_saved_segments(at: list[int], data: st.DataObject) -> None:
    whole = pieces(at)
    saved = data.draw(st.integers(0, len(whole)))
    begin = data.draw(st.integers(0, saved))
    assert ResumeFilter(whole[:saved]).new(whole[begin:]) == tuple(whole[saved:])


@given(cuts, cuts, st.data())
def test_resume_filter_continues_where_the_saved_segments_end(
    before: list[int], after: list[int], data: st.DataObject
) -> None:
    saved = pieces(before)[: data.draw(st.integers(1, len(before) - 1))]
    heard = pieces(after)
    new = ResumeFilter(saved).new(heard)
    assert list(new) == heard[len(heard) - len(new) :]
    longest = max(segment.end - segment.start for segment in heard)
    begins_s = new[0].start if new else 100.0
    assert abs(begins_s - saved[-1].end) <= longest / 2
