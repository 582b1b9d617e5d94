"""The sentences of a short meeting: the complete training text of the demo model."""

import random
import re


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words("Anna Ben Carla David Emma Frank Grace Henry Irene Jack Karen Lisa Martin Nina Oscar Paula Robert Sara")
NAMES += _words("Thomas Victor")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday")
MONTHS = _words("January February March April May June July August September October November December")
DIGITS = _words("one two three four five six seven eight nine")
SMALL = (*DIGITS, "ten", "eleven", "twelve")
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
DAYS_OF_MONTH = (*SMALL, "twenty", "thirty", *(f"twenty {digit}" for digit in DIGITS), "thirty one")
THINGS = _words(
    "agenda backup budget contract customer dashboard database design document feature interview invoice manual "
    "message newsletter order password presentation printer project proposal prototype release report roadmap "
    "schedule server summary survey test ticket training website"
)
VERBS = _words(
    "approve cancel check close deliver deploy discuss explain finish fix postpone prepare print publish review "
    "rewrite send share test translate update write"
)
STATES = _words("ready late broken blocked complete missing important")
PLACES = _words("office kitchen lobby warehouse library")

TEMPLATES: dict[str, tuple[int, tuple[str, ...]]] = {
    "greeting": (
        5,
        (
            "Good morning {name}.",
            "Good morning everyone.",
            "Good afternoon everyone.",
            "Hello {name}.",
            "Hello everyone.",
            "Welcome to the meeting.",
            "Welcome to the team {name}.",
            "Let us start.",
            "Let us start with the {thing}.",
        ),
    ),
    "progress": (
        24,
        (
            "Yesterday {name} finished the {thing}.",
            "Yesterday I finished the {thing}.",
            "Today I will {verb} the {thing}.",
            "Tomorrow {name} will {verb} the {thing} and the {thing}.",
            "The {thing} is {state}.",
            "The {thing} is not {state}.",
            "{name} is waiting for the {thing}.",
            "{name} is working on the {thing}.",
            "I am working on the {thing} and the {thing}.",
            "There is a problem with the {thing}.",
            "{name} found a problem in the {thing}.",
            "{name} and {name} fixed the {thing}.",
            "I agree with {name}.",
            "{name} is on vacation until {day}.",
        ),
    ),
    "decision": (
        14,
        (
            "We decided to {verb} the {thing}.",
            "We decided to {verb} the {thing} on {day}.",
            "We decided not to {verb} the {thing}.",
            "We agreed to {verb} the {thing} next week.",
            "The team decided to {verb} the {thing} and the {thing}.",
        ),
    ),
    "action": (
        18,
        (
            "Action item {name} will {verb} the {thing} by {day}.",
            "Action item {name} and {name} will {verb} the {thing}.",
            "{name} will {verb} the {thing} by {day}.",
            "{name} please {verb} the {thing} by {day}.",
            "{name} asked {name} to {verb} the {thing}.",
        ),
    ),
    "question": (
        14,
        (
            "Can you {verb} the {thing} before {day}?",
            "Who will {verb} the {thing}?",
            "When is the {thing} ready?",
            "Is the {thing} {state}?",
            "What is the status of the {thing}?",
            "What is the budget for the {thing}?",
            "How many open tickets do we have?",
            "Are there any questions?",
            "{name} asked about the {thing}.",
            "{name} has a question about the {thing} and the {thing}.",
        ),
    ),
    "number": (
        17,
        (
            "We have {number} open tickets.",
            "The budget is {number} hundred dollars.",
            "The budget for the {thing} is {number} thousand dollars.",
            "The {thing} is {number} percent complete.",
            "The survey has {number} answers.",
            "The test failed {number} times.",
            "Version {small} of the {thing} is {state}.",
        ),
    ),
    "date": (
        12,
        (
            "The next meeting is on {day} at {small}.",
            "The next meeting is on {day} at {small} thirty.",
            "The next meeting is in the {place} on {day}.",
            "The deadline is {month} {date}.",
            "The deadline for the {thing} is {month} {date}.",
            "The deadline for the {thing} is {day}.",
            "The {thing} is due on {month} {date}.",
        ),
    ),
    "close": (
        5,
        (
            "Thank you {name}.",
            "Thank you everyone.",
            "That is all for today.",
            "See you on {day}.",
            "Have a good weekend.",
            "Any other questions?",
        ),
    ),
}
_TOPICS = tuple(TEMPLATES)
_WEIGHTS = tuple(weight for weight, _ in TEMPLATES.values())
_LISTS = {
    "name": NAMES,
    "day": DAYS,
    "month": MONTHS,
    "date": DAYS_OF_MONTH,
    "small": SMALL,
    "thing": THINGS,
    "verb": VERBS,
    "state": STATES,
    "place": PLACES,
}


def sentence(draw: random.Random) -> str:
    """Draw a sentence of a meeting; the words of its slots are all different."""
    (topic,) = draw.choices(_TOPICS, _WEIGHTS)
    taken: set[str] = set()

    def fill(slot: re.Match[str]) -> str:
        while (word := _word(slot[1], draw)) in taken:
            pass
        taken.add(word)
        return word

    return re.sub(r"\{(\w+)\}", fill, draw.choice(TEMPLATES[topic][1]))


def _word(slot: str, draw: random.Random) -> str:
    if slot != "number":
        return draw.choice(_LISTS[slot])
    kind = draw.random()
    if kind < 0.4:
        return draw.choice(SMALL)
    return draw.choice(TENS) if kind < 0.6 else f"{draw.choice(TENS)} {draw.choice(DIGITS)}"


def vocabulary() -> list[str]:
    """Return every word as it is written, sorted; a word that also begins a sentence occurs in both spellings."""
    texts = [text for _, templates in TEMPLATES.values() for text in templates]
    texts += [word for words in (*_LISTS.values(), TENS) for word in words]
    return sorted({word for text in texts for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", text))})
