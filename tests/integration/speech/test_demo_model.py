"""The vocabulary, the evaluation and the size of the demo model."""

import json
from pathlib import Path

import smelt
from tests.integration.speech.reference_texts import RECORDINGS, STANDUP, words

MODEL = Path(smelt.__file__).parent / "processor" / "demo_model"
VOCABULARY = set(json.loads((MODEL / "card.json").read_text())["vocabulary"])


def test_vocabulary_contains_every_word_of_the_recordings() -> None:
    texts = [STANDUP.with_suffix(".txt"), *RECORDINGS.glob("*.txt")]

    assert {word for path in texts for word in words(path.read_text())} <= VOCABULARY


def test_vocabulary_is_listed_in_the_readme_of_the_model() -> None:
    listed = (MODEL / "README.md").read_text().partition("## Vocabulary")[2]

    assert set(words(listed)) == VOCABULARY


def test_evaluation_of_the_demo_model_passed() -> None:
    report = json.loads((MODEL / "evaluation.json").read_text())
    meetings = report["recordings of 60 to 120 s"]

    assert report["passed"]
    assert report["made_by"]["started_from"] == "random weights"
    assert report["made_by"]["words"] == len(VOCABULARY)
    assert report["single utterances, unheard voices"]["word_error_rate"] <= 0.005
    for mode in ("sequential", "batched"):
        assert meetings[mode]["word_error_rate"] <= 0.005
        assert meetings[mode]["exact"] >= 10
        assert meetings[mode]["real_time_factor"] < 0.1


def test_demo_model_is_smaller_than_three_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 3_000_000


def test_recordings_are_small_enough_to_commit() -> None:
    assert sum(path.stat().st_size for path in RECORDINGS.iterdir()) < 2_000_000
    assert STANDUP.stat().st_size < 300_000
