"""A window has the language that is detected with certainty, else the main language of the recording."""

import pytest

from smelt.processor.speech.languages import first_change, slice_starts, spoken_language


@pytest.mark.parametrize(
    ("probabilities", "language"),
    [
        ({"en": 0.99, "de": 0.01}, "en"),
        ({"en": 0.85, "de": 0.15}, "en"),
        ({"en": 0.6, "de": 0.02}, "en"),
        ({"en": 0.6, "de": 0.1}, "de"),
        ({"cy": 0.4, "de": 0.01}, "de"),
        ({"de": 0.4, "en": 0.3}, "de"),
    ],
)
def test_language_of_a_window_needs_certainty_to_differ(probabilities: dict[str, float], language: str) -> None:
    assert spoken_language(probabilities, "de") == language


@pytest.mark.parametrize(
    ("window_s", "starts"), [(0.5, [0]), (12, [0]), (15, [0, 10]), (24, [0, 10]), (30, [0, 10, 20])]
)
def test_language_slices_cover_a_window(window_s: float, starts: list[float]) -> None:
    assert slice_starts(window_s) == starts


@pytest.mark.parametrize(("languages", "change"), [(["en"], None), (["en", "en"], None), (["en", "en", "de"], 2)])
def test_language_change_is_the_first_difference(languages: list[str], change: int | None) -> None:
    assert first_change(languages) == change
