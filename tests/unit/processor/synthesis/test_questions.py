"""Questions are sentences with a mark, or where a model writes none, sentences that ask; answers follow them."""

import pytest

from smelt.processor.synthesis.questions import question_pairs
from smelt.processor.synthesis.sentences import Sentence


def asked(*texts: str, language: str = "en") -> list[tuple[str, list[str]]]:
    sentences = [Sentence(text) for text in texts]
    pairs = question_pairs(sentences, (language,))
    return [(texts[pair.question], [texts[index] for index in pair.replies]) for pair in pairs]


STATEMENTS = [
    "When Usad Alzaman saw the improvisation, she called home.",
    "Will Smith sent the invoice.",
    "What we need is patience.",
    "Have a good day.",
    "Do it now.",
    "Which is why we left.",
    "Could be worse.",
    "Is what it is.",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_question_without_a_mark_is_not_a_statement(statement: str) -> None:
    assert asked(statement) == []


@pytest.mark.parametrize(
    ("language", "question"),
    [
        ("en", "when is the release"),
        ("en", "so what do we need to talk about"),
        ("en", "can you check the backup before wednesday"),
        ("en", "how many tickets are open"),
        ("de", "Wann ist die Veröffentlichung"),
        ("de", "Hast du den Bericht gesehen"),
        ("es", "Cuándo es la reunión"),
        ("fr", "Est-ce que le rapport est prêt"),
    ],
)
def test_question_without_a_mark_is_found_by_rule(language: str, question: str) -> None:
    assert asked(question, language=language) == [(question, [])]


def test_question_is_found_by_its_mark_alone_if_there_are_marks() -> None:
    assert asked("What is it?", "A test.", "Is it what it is.", "You agree?") == [
        ("What is it?", ["A test.", "Is it what it is."]),
        ("You agree?", []),
    ]


def test_reply_omits_fillers_and_repeated_words() -> None:
    assert asked("When is the release?", "The release.", "Um, well.", "Good question.", "On Monday, I think.") == [
        ("When is the release?", ["On Monday, I think."])
    ]
    assert asked("Is it ready?", "It is ready.") == [("Is it ready?", ["It is ready."])]
    assert asked("Is it ready?", "No.", "Not at all.") == [("Is it ready?", ["No.", "Not at all."])]


def test_reply_ends_with_the_turn_of_its_speaker_and_before_the_next_question() -> None:
    turns = [("Is it late?", "A"), ("It is.", "B"), ("By a week.", "B"), ("I see.", "A"), ("Why is it late?", "A")]
    sentences = [Sentence(text, float(n), speaker) for n, (text, speaker) in enumerate(turns)]
    assert [pair.replies for pair in question_pairs(sentences, ("en",))] == [(1, 2), ()]


def test_question_of_one_word_is_ignored() -> None:
    assert asked("Right?", "Yes.", "Okay?", "Who pays?") == [("Who pays?", [])]


def test_long_filler_is_compared_in_linear_time() -> None:
    assert asked("Who pays?", f"U{'m' * 500}x.") == [("Who pays?", [f"U{'m' * 500}x."])]
