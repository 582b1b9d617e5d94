"""The benchmark of words counts wrong and missing words, loops, and speech without text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcribe_file import Segment
from words_scoring import Alignment, Interval, align, covered_pause_s, uncovered_s, without_loops, words_of

TEXTS = st.lists(st.sampled_from("abc"), max_size=8)


def distance(reference: list[str], found: list[str]) -> int:
    """Return the Levenshtein distance by its definition."""
    row = list(range(len(found) + 1))
    for above, word in enumerate(reference):
        diagonal, row[0] = above, above + 1
        for at, other in enumerate(found, 1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
    return row[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Feed'st thy light\N{RIGHT SINGLE QUOTATION MARK}s self-made flame:", "feedst thy lights self made flame"),
        ("Señor, GRÜẞE, 1881!", "senor grusse 1881"),
        ("-->", ""),
    ],
)
def test_words_are_folded_and_without_punctuation(text: str, words: str) -> None:
    assert words_of(text) == words.split()


@given(TEXTS, TEXTS)
def test_align_counts_the_edit_distance_and_bounds_the_missing_run(reference: list[str], found: list[str]) -> None:
    alignment = align(reference, found)

    assert alignment.errors == distance(reference, found)
    assert alignment.missing_run <= min(alignment.errors, len(reference))


@pytest.mark.parametrize(
    ("reference", "found", "alignment"),
    [
        ("a b c d e", "a b c d e", Alignment(0, 0)),
        ("a b c d e", "a e", Alignment(3, 3)),
        ("a b c d e", "", Alignment(5, 5)),
        ("a b c d e", "a x y d e", Alignment(2, 0)),
        ("a b c d e", "b c e", Alignment(2, 1)),
        ("a b", "a x x b", Alignment(2, 0)),
        ("", "a", Alignment(1, 0)),
    ],
)
def test_missing_run_is_the_most_words_in_a_row_without_a_counterpart(
    reference: str, found: str, alignment: Alignment
) -> None:
    assert align(reference.split(), found.split()) == alignment


@pytest.mark.parametrize(
    ("text", "kept", "loops"),
    [
        ("yes yes yes", "yes yes yes", 0),
        ("so yes yes yes yes then", "so yes then", 1),
        ("we go on " * 4, "we go on", 1),
        ("we go on " * 3, "we go on we go on we go on", 0),
        ("a a a a b b b b b", "a b", 2),
        ("1 2 3 4 5 6 7 8 " * 4, "1 2 3 4 5 6 7 8", 1),
        ("", "", 0),
    ],
)
def test_loop_is_up_to_eight_words_four_times_in_a_row(text: str, kept: str, loops: int) -> None:
    assert without_loops(text.split()) == (kept.split(), loops)


@pytest.mark.parametrize(
    ("segments", "seconds"),
    [
        ([], 12.0),
        ([Segment(0.0, 20.0, "All.")], 0.0),
        ([Segment(0.0, 20.0, "...")], 12.0),
        ([Segment(0.0, 3.0, "One"), Segment(3.9, 20.0, "two.")], 0.0),
        ([Segment(0.0, 3.0, "One"), Segment(4.5, 20.0, "two.")], 1.5),
        ([Segment(9.0, 30.0, "Late.")], 9.0),
    ],
)
def test_uncovered_speech_has_no_text_for_at_least_a_second(segments: list[Segment], seconds: float) -> None:
    assert uncovered_s([Interval(0.0, 10.0), Interval(18.0, 20.0)], segments) == pytest.approx(seconds)


def test_covered_pause_is_the_longest_within_a_segment() -> None:
    speech = [Interval(0.0, 4.0), Interval(5.0, 8.0), Interval(48.0, 50.0)]

    assert covered_pause_s(speech, [Segment(0.0, 8.0, "One."), Segment(48.0, 50.0, "Two.")]) == 1.0
    assert covered_pause_s(speech, [Segment(0.0, 7.0, "One."), Segment(7.0, 50.0, "Two.")]) == 40.0
    assert covered_pause_s(speech, []) == 0.0
