"""Topics cover the whole text in parts of similar length, and begin where the vocabulary changes."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.subjects import guessed_language, significant_words, spelled_words
from smelt.processor.synthesis.topics import Topic, topics_of
from smelt.processor.synthesis.words import length_in_words

SUBJECTS = (
    "budget invoice payment dollars accountant taxes",
    "server database backup password outage cluster",
    "garden flowers watering tomatoes compost greenhouse",
    "violin orchestra concert rehearsal conductor symphony",
    "passport luggage airport boarding flight hotel",
    "patient doctor surgery medicine nurse hospital",
)


def spoken(subjects: tuple[str, ...], sentences: int, seed: int = 1) -> list[str]:
    """Return so many sentences about each subject, in order."""
    generator = random.Random(seed)
    return [
        f"So we have {' and the '.join(generator.sample(subject.split(), 3))} there as well."
        for subject in subjects
        for _ in range(sentences)
    ]


def topics(texts: list[str]) -> list[Topic]:
    return topics_of(texts, Ranking(texts, ("en",)), ("en",))


def test_topics_begin_where_the_subject_changes() -> None:
    texts = spoken(SUBJECTS, 24)
    found = topics(texts)
    starts = [topic.sentences.start for topic in found]
    assert all(any(abs(start - 24 * n) <= 1 for start in starts) for n in range(len(SUBJECTS)))
    for topic in found:
        subject = SUBJECTS[(topic.sentences.start + topic.sentences.stop) // 2 // 24]
        assert topic.phrases
        assert all(word in subject for phrase in topic.phrases for word in phrase.split())


@pytest.mark.parametrize("sentence_count", [500, 1500])
def test_topics_of_a_long_text_are_at_most_20_and_balanced(sentence_count: int) -> None:
    # Mostly without common words: every edge has the same depth, as in real recordings.
    texts = [f"Then {n:x}abc was there with the {n * 7:x}xyz of all." for n in range(sentence_count)]
    sizes = [len(topic.sentences) for topic in topics(texts)]
    assert 10 <= len(sizes) <= 20
    assert sum(sizes) == sentence_count
    assert max(sizes) <= 2 * sentence_count / len(sizes)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(alphabet="abcde .,?", max_size=400), min_size=1, max_size=60))
def test_topics_contain_every_sentence_once(texts: list[str]) -> None:
    found = topics(texts)
    assert found[0].sentences.start == 0
    assert found[-1].sentences.stop == len(texts)
    assert all(one.sentences.stop == other.sentences.start for one, other in pairwise(found))
    assert len(found) <= max(1, min(20, sum(map(length_in_words, texts)) // 170))


def test_title_prefers_phrases_of_the_speakers_to_single_words() -> None:
    texts = ["Rachel Lind saw the brook.", "Then Rachel Lind went home to the brook.", "Yeah, okay, um, you know."] * 3
    [topic] = topics(texts)
    assert topic.phrases[0] == "Rachel Lind"
    assert not {"yeah", "okay", "know"}.intersection(" ".join(topic.phrases).lower().split())


def test_title_prefers_names() -> None:
    texts = ["The bridge to Berlin is old.", "In Berlin the bridge is long."]
    [topic] = topics(texts)
    assert topic.phrases == ("Berlin", "bridge")


def test_title_contains_one_form_of_a_word() -> None:
    texts = ["The meeting was about meetings.", "All meetings need a meeting and a budget.", "The budget is late."]
    [topic] = topics(texts)
    assert len([phrase for phrase in topic.phrases if "meeting" in phrase]) == 1


def test_significant_words_omit_stop_words_and_their_contractions() -> None:
    assert significant_words("I don't know what you\u2019re doing with Anna's budget", ("en",)) == ["anna", "budget"]
    assert significant_words("Ich glaube, die Sitzung ist auch heute", ("de",)) == ["glaube", "sitzung"]
    assert significant_words("Aujourd'hui l'équipe n'est pas là", ("fr",)) == ["équipe"]
    assert spelled_words("Anna Lee, the CEO", ("en",)) == ["Anna", "", "Lee", "", "", "", "", "CEO"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Ship it on Monday.", "en"),
        ("Wir müssen die Rechnung noch an den Kunden schicken.", "de"),
        ("Tenemos que enviar la factura al cliente antes del viernes.", "es"),
        ("Il faut envoyer la facture au client avant vendredi.", "fr"),
        ("Ben phones Anna.", "en"),
        ("12345", "en"),
    ],
)
def test_language_of_a_text_is_guessed_by_its_stop_words(text: str, language: str) -> None:
    assert guessed_language(text) == language
