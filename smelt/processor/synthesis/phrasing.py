"""The phrasings of tasks and questions in a language: rules that `phrasings/LANGUAGE.toml` lists.

A rule is a regular expression for the beginning of a clause, in any case, with U+2019 as its only apostrophe:

- `<who>` is a name, `<also>` any `adverbs`, `<what>` a task after any `adverbs`; `(?P<task>...)` is one without them.
- `named`: the speaker calls it an action item. `requests`, `strong`: a task follows, unless its words are `not_tasks`.
  `weak`: it needs the words of one of the `tasks`, or a `deadline`; `dated`: a deadline; `present`: both; `command`: a
  task at the beginning of a sentence; `imperative`: one after a name, or with a deadline at the beginning; `passive`: a
  task without somebody who does it.
- `tasks`, `not_tasks`: the words that a task begins with, and does not; the longer match decides. `endings` of these
  words are ignored.
- `leads`, `times`: words before a clause; `conjunctions` begin one.
- `not_people`: words that are not names; `people`: groups of people that are not names; `addressed`: words of a request
  after which a name at the end (`..., Ben?`) is its owner.
- `not_items`, `not_passive`: words that contradict a task. `hypothetical`: the beginning of a sentence that contains
  only requests, and tasks with a deadline. `reported`: the end of the words before a clause that quotes somebody.
- `questions`, `not_questions`: sentences that are questions without a mark. `fillers`: sentences without content.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Strength = Literal["named", "requests", "strong", "weak", "dated", "present", "command", "imperative", "passive"]
STRENGTHS: Final[tuple[Strength, ...]] = (
    *("named", "requests", "strong", "weak", "dated", "present", "command", "imperative", "passive"),
)

_FOLDER: Final = Path(__file__).parent / "phrasings"
_NAME: Final = r"(?:(?:mr|mrs|ms|dr)\.? )?[^\W\d]+(?:-[^\W\d]+)*"
_NEVER: Final = r"(?!)"
_APOSTROPHES: Final = str.maketrans("'`\u02bc", "\u2019\u2019\u2019")


@dataclass(frozen=True)
class Phrasing:
    """The rules of one language, compiled; the docstring of the module describes them."""

    name: str
    rules: tuple[tuple[Strength, re.Pattern[str]], ...]
    tasks: tuple[re.Pattern[str], ...]
    not_tasks: tuple[re.Pattern[str], ...]
    endings: tuple[str, ...]
    leads: re.Pattern[str]
    times: re.Pattern[str]
    breaks: re.Pattern[str]
    conjunctions: tuple[str, ...]
    not_people: frozenset[str]
    people: re.Pattern[str]
    addressed: re.Pattern[str]
    not_items: re.Pattern[str]
    not_passive: re.Pattern[str]
    hypothetical: re.Pattern[str]
    reported: re.Pattern[str]
    deadline: re.Pattern[str]
    questions: re.Pattern[str]
    not_questions: re.Pattern[str]
    fillers: re.Pattern[str]

    def is_filler(self, text: str) -> bool:
        """Return True if a sentence has no content: `Um, okay.`"""
        return self.fillers.fullmatch(with_one_apostrophe(text)) is not None

    def is_question(self, text: str) -> bool:
        """Return True if a sentence without a mark is a question."""
        text = with_one_apostrophe(text)
        return self.questions.match(text) is not None and self.not_questions.match(text) is None


def with_one_apostrophe(text: str) -> str:
    """Replace each apostrophe by the one of the rules; the length stays."""
    return text.translate(_APOSTROPHES)


def phrasings_of(languages: Iterable[str]) -> tuple[Phrasing, ...]:
    """Return the rules of those languages that have some."""
    return tuple(_PHRASINGS[language] for language in languages if language in _PHRASINGS)


def _phrasing(data: dict[str, Any]) -> Phrasing:
    people = data.get("people", _NEVER)
    who = f"(?P<who>{people}|{_NAME}(?: {_NAME})??(?: {data['conjunctions'][0]} {_NAME})?)"
    adverbs = "|".join(data["adverbs"])
    conjunctions = "|".join(data["conjunctions"])
    return Phrasing(
        name=data["name"],
        rules=tuple(
            (strength, _compiled(_filled(rule, who, adverbs)))
            for strength in STRENGTHS
            for rule in data.get(strength, ())
        ),
        tasks=tuple(_compiled(rf"(?:{task})\b") for task in data["tasks"]),
        not_tasks=tuple(_compiled(rf"(?:{task})(?!\w)") for task in data["not_tasks"]),
        endings=tuple(data.get("endings", ())),
        leads=_compiled(rf"(?:[¿¡\"“„«]|(?:{'|'.join(data['leads'])}),? +)*"),
        times=_compiled(rf"(?:(?:{'|'.join(data['times']) or _NEVER}),? +)?"),
        breaks=_compiled(rf"(?:[,;:\u2013\u2014\u2026]|\.\.\.| -) +|\s(?=(?:{conjunctions}) )"),
        conjunctions=tuple(data["conjunctions"]),
        not_people=frozenset(data["not_people"]),
        people=_compiled(people),
        addressed=_compiled(data.get("addressed", _NEVER)),
        not_items=_compiled(data.get("not_items", _NEVER)),
        not_passive=_compiled(data.get("not_passive", _NEVER)),
        hypothetical=_compiled(data["hypothetical"]),
        reported=_compiled(data["reported"]),
        deadline=_compiled(data["deadline"]),
        questions=_compiled(_any_of(data["questions"]).replace("<who>", _NAME)),
        not_questions=_compiled(data.get("not_questions", _NEVER)),
        fillers=_compiled(rf"(?:(?:{'|'.join(data['fillers'])})(?:\W+|$))+"),
    )


def _filled(rule: str, who: str, adverbs: str) -> str:
    rule = rule.replace("<also>", f"(?: (?:{adverbs}))*").replace("<what>", f"(?:(?:{adverbs}) )*(?P<what>.+)")
    before, mark, after = rule.partition("<who>")
    return before + who + after.replace("<who>", _NAME) if mark else before


def _any_of(rules: Sequence[str]) -> str:
    return "|".join(f"(?:{rule})" for rule in rules)


def _compiled(rule: str) -> re.Pattern[str]:
    return re.compile(rule, re.IGNORECASE)


# At import: the process that writes the notes is a copy of one that has imported this.
_PHRASINGS: Final = {path.stem: _phrasing(tomllib.loads(path.read_text())) for path in sorted(_FOLDER.glob("*.toml"))}

SUPPORTED: Final = tuple(sorted(phrasing.name for phrasing in _PHRASINGS.values()))
"""The names of the languages that have rules."""
