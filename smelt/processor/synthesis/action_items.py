"""Finds action items by their phrasing in English. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from smelt.processor.synthesis.words import is_english

Kind = Literal["named", "mentioned"]

# Subjects of "will" and "should" that are not names of people.
NOT_PEOPLE: Final = frozenset(
    (
        *("it", "this", "that", "these", "those", "there", "here", "what", "which", "who", "he", "she", "they"),
        *("everything", "everyone", "everybody", "nothing", "nobody", "something", "somebody", "someone", "all"),
        *("and", "but", "so", "then", "if", "when", "maybe", "how", "where", "why", "the", "a", "an", "you"),
    )
)
# "We will see" and "I will be late" are not tasks.
_NOT_TASKS: Final = frozenset(
    ("be", "have", "see", "know", "need", "not", "never", "probably", "likely", "remain", "stay")
)

_WHO: Final = r"(?P<who>[^\W\d]+(?: and [^\W\d]+)?)"
_WILL: Final = r"(?:will|must|should|shall|has to|have to|needs to|need to|is going to|am going to|are going to|to)"
_NAMED: Final = (
    re.compile(rf"^(?:action item|action point|todo|to do)[:,]? {_WHO} {_WILL} (?P<what>.+)$", re.IGNORECASE),
    re.compile(r"^(?:action item|action point|todo|to do|action)(?:[:,]| -) *(?P<what>.+)$", re.IGNORECASE),
    re.compile(r"^\[ \] *(?P<what>.+)$"),
)
_TIME: Final = r"(?:(?:today|tomorrow|later|next week|this week|tonight)[,]? )?"
_MENTIONED: Final = (
    re.compile(
        rf"^{_TIME}{_WHO} (?:will|must|shall|has to|have to|needs to|is going to|am going to) (?P<what>.+)$",
        re.IGNORECASE,
    ),
    re.compile(rf"^[^\W\d]+ (?:asked|told|reminded) {_WHO} to (?P<what>.+)$", re.IGNORECASE),
    re.compile(r"^(?:can|could|would|will) you (?:please )?(?P<what>.+)$", re.IGNORECASE),
    re.compile(r"^please (?P<what>.+)$", re.IGNORECASE),
)
_LEAD: Final = re.compile(r"^(?:and|so|ok|okay|well|then|also|but),? ", re.IGNORECASE)


@dataclass(frozen=True)
class ActionItem:
    """A task and its owner, if one is given; `named` if the speaker called it an action item."""

    kind: Kind
    owner: str | None
    task: str


def action_items(sentences: Iterable[str], language: str | None = "en") -> tuple[ActionItem, ...]:
    """Return the action items in order, without repeats; in other languages than English only named ones."""
    found = (_item(sentence, _MENTIONED if is_english(language) else ()) for sentence in sentences)
    return tuple(dict.fromkeys(item for item in found if item is not None))


def owners(items: Iterable[ActionItem]) -> frozenset[str]:
    """Return the words of the owners that are names, in lower case."""
    words = (word.lower() for item in items if item.owner for word in item.owner.split())
    return frozenset(words) - {"and", "i", "we"}


def _item(sentence: str, mentioned: Sequence[re.Pattern[str]]) -> ActionItem | None:
    text = _LEAD.sub("", sentence.strip()).rstrip(" .!?…")
    for pattern in _NAMED:
        if match := pattern.match(text):
            return _action_item("named", match)
    for pattern in mentioned:
        if (match := pattern.match(text)) and _is_task(match):
            return _action_item("mentioned", match)
    return None


def _is_task(match: re.Match[str]) -> bool:
    who = (match.groupdict().get("who") or "").lower().split()
    return not NOT_PEOPLE.intersection(who) and match["what"].split()[0].lower() not in _NOT_TASKS


def _action_item(kind: Kind, match: re.Match[str]) -> ActionItem:
    who = match.groupdict().get("who")
    owner = None if who is None else " ".join(word if word == "and" else _name(word) for word in who.split())
    return ActionItem(kind, owner, match["what"].strip())


def _name(word: str) -> str:
    return "We" if word.lower() == "we" else word[0].upper() + word[1:]
