"""Action items are found in natural phrasings, and not in statements that only look alike."""

import json
from pathlib import Path

import pytest

from smelt.processor.synthesis.action_items import ActionItem, action_items

LANGUAGES = ("de", "en", "es", "fr")


def phrasings(language: str) -> dict[str, list[str]]:
    found = json.loads((Path(__file__).parent / f"action_items_{language}.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_action_item_is_found_in_natural_phrasings(language: str) -> None:
    tasks = phrasings(language)["tasks"]
    assert [task for task in tasks if not action_items([task], (language,))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_action_item_is_not_found_in_similar_statements(language: str) -> None:
    statements = phrasings(language)["not_tasks"]
    assert [found for text in statements for found in action_items([text], (language,))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_action_item_is_a_part_of_its_sentence(language: str) -> None:
    for sentence in phrasings(language)["tasks"]:
        for item in action_items([sentence], (language,)):
            assert item.task in sentence
            assert item.owner is None or item.owner.lower() in sentence.lower()


@pytest.mark.parametrize(
    ("sentence", "kind", "owner", "task"),
    [
        ("action item anna will review the budget by friday.", "named", "Anna", "review the budget by friday"),
        ("Action item: call the printer.", "named", None, "Action item: call the printer"),
        ("TODO: write the report", "named", None, "TODO: write the report"),
        ("Action item, Zoë must call Ben!", "named", "Zoë", "call Ben"),
        ("[ ] buy milk", "named", None, "[ ] buy milk"),
        ("So, Anna will send the invoice.", "mentioned", "Anna", "send the invoice"),
        ("ben asked carla to deploy the website.", "mentioned", "Carla", "deploy the website"),
        ("Please send it today.", "mentioned", None, "Please send it today"),
        ("Okay, I\u2019ll send the deck.", "mentioned", None, "I\u2019ll send the deck"),
        ("Anna, can you book the room?", "mentioned", "Anna", "book the room?"),
        ("Could you check the numbers, Ben?", "mentioned", "Ben", "check the numbers, Ben?"),
        ("The design team should review it by Monday.", "mentioned", "The design team", "review it by Monday"),
        ("Tomorrow Henry will call the bank.", "mentioned", None, "Tomorrow Henry will call the bank"),
    ],
)
def test_action_item_has_its_owner_and_the_words_of_the_speaker(
    sentence: str, kind: str, owner: str | None, task: str
) -> None:
    assert action_items([sentence]) == (ActionItem(kind, owner, task, 0),)  # type: ignore[arg-type]


def test_action_items_of_one_sentence_are_separate() -> None:
    [anna, tom] = action_items(["Anna will send the report, and Tom will call the client."])
    assert (anna.owner, anna.task) == ("Anna", "send the report")
    assert (tom.owner, tom.task) == ("Tom", "call the client")


def test_action_item_that_is_repeated_counts_once() -> None:
    [item] = action_items(["Anna will call Ben.", "It rains.", "anna will call Ben."])
    assert item.sentence == 0


def test_action_items_need_rules_of_the_language() -> None:
    assert action_items(["Anna will call Ben."], ("pl",)) == ()
    assert [item.task for item in action_items(["TODO: kup mleko."], ("pl",))] == ["TODO: kup mleko"]
    assert len(action_items(["Anna will call Ben.", "Wir müssen die Rechnung prüfen."], ("en", "de"))) == 2
