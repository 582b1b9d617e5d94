"""The benchmark of speakers counts missed, wrong and confused speech."""

import pytest
from speakers_scoring import score

KNOWN = [(0.0, 10.0, "a"), (12.0, 22.0, "b")]
# A quarter of a second at both ends of a turn is not scored.
SCORED_S = 19.0


def test_error_of_equal_turns_is_zero_with_any_names() -> None:
    assert score(KNOWN, [(0.0, 10.0, "2"), (12.0, 22.0, "1")], 25.0).rate == 0


@pytest.mark.parametrize(
    ("found", "missed", "false_alarm", "confused"),
    [
        ([], 1.0, 0.0, 0.0),
        ([(0.0, 10.0, "1")], 0.5, 0.0, 0.0),
        ([(0.0, 10.0, "1"), (12.0, 22.0, "1")], 0.0, 0.0, 0.5),
        ([(0.0, 10.0, "1"), (12.0, 22.0, "2"), (23.0, 24.9, "1")], 0.0, 1.9 / SCORED_S, 0.0),
        ([(0.0, 10.0, "1"), (12.0, 22.0, "2"), (12.0, 22.0, "3")], 0.0, 0.5, 0.0),
    ],
)
def test_error_has_three_parts(
    found: list[tuple[float, float, str]], missed: float, false_alarm: float, confused: float
) -> None:
    error = score(KNOWN, found, 25.0)
    expected = (missed, false_alarm, confused)
    assert (error.missed, error.false_alarm, error.confused) == pytest.approx(expected, abs=0.002)
