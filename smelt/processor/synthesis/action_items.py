"""Finds action items by their phrasing, with the rules of `phrasing`. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from smelt.processor.synthesis.phrasing import Phrasing, Strength, phrasings_of, with_one_apostrophe

Kind = Literal["named", "mentioned"]

(_ENGLISH,) = phrasings_of(("en",))
# A task that is named as one in English is recognized in transcripts of other languages as well.
_NAMED_ONLY: Final = replace(_ENGLISH, rules=tuple(rule for rule in _ENGLISH.rules if rule[0] == "named"))

_MIN_TASK_WORDS: Final = 2
_END: Final = " .!…,;:-"
_MAX_NAMES: Final = 4
# Of a clause: a text without marks is one sentence, and each clause would be searched to its end.
_MAX_CHARACTERS: Final = 300
_TRAILING_NAME: Final = re.compile(r", ([^\W\d]+)[.!?]*$")


@dataclass(frozen=True)
class ActionItem:
    """A task in the words of the speaker; `named` if the speaker called it an action item.

    Without an owner, the task is the whole clause (`I'll send it`); `sentence` is the index of its sentence.
    """

    kind: Kind
    owner: str | None
    task: str
    sentence: int


@dataclass(frozen=True)
class _Clause:
    """A sentence from the beginning of a clause on, and the words before it; `addressee` was named just before it.

    The last clause ends at `last_end`, before the words that lead to this one.
    """

    start: int
    text: str
    before: str
    last_end: int
    addressee: str | None
    is_hypothetical: bool


@dataclass(frozen=True)
class _Match:
    """The owner and the offset of a task in its clause; without an owner, the task is the whole clause."""

    kind: Kind
    owner: str | None
    start: int

    def item(self, clause: str, sentence: int) -> ActionItem:
        start = 0 if self.owner is None else self.start
        return ActionItem(self.kind, self.owner, clause[start:].strip(_END), sentence)


def action_items(sentences: Iterable[str], languages: Sequence[str] = ("en",)) -> tuple[ActionItem, ...]:
    """Return the action items in order, without repeats, by the rules of the languages.

    If none of them has rules, these are items that the speaker calls so in English.
    """
    phrasings = phrasings_of(languages) or (_NAMED_ONLY,)
    found = (
        item
        for index, sentence in enumerate(sentences)
        for item in next(filter(None, (_items(sentence.strip(), index, phrasing) for phrasing in phrasings)), ())
    )
    return tuple({(item.owner, item.task.lower()): item for item in reversed(list(found))}.values())[::-1]


def owners(items: Iterable[ActionItem]) -> frozenset[str]:
    """Return the words of the owners that are names, in lower case."""
    named = [item.owner for item in items if item.owner and not _ENGLISH.people.fullmatch(item.owner)]
    return frozenset(word.lower() for owner in named for word in owner.split()) - {"and"}


def _items(sentence: str, index: int, phrasing: Phrasing) -> list[ActionItem]:
    found: list[tuple[_Clause, _Match]] = []
    task_start = -1
    for clause in _clauses(with_one_apostrophe(sentence), phrasing):
        # A clause that begins before the task of the last one is a part of its beginning: `Anna, can you ...`.
        if clause.start > task_start and (match := _match(clause, phrasing)):
            found.append((clause, match))
            task_start = clause.start + match.start
    ends = [*(clause.last_end for clause, _ in found), len(sentence)][1:]
    return [match.item(sentence[clause.start : end], index) for (clause, match), end in zip(found, ends, strict=True)]


def _clauses(sentence: str, phrasing: Phrasing) -> Iterator[_Clause]:
    leads = phrasing.leads.match(sentence)
    is_hypothetical = phrasing.hypothetical.match(sentence, leads.end() if leads else 0) is not None
    start, last_end, addressee = 0, 0, None
    breaks = [(match.start(), match.end()) for match in phrasing.breaks.finditer(sentence)]
    for end, next_start in [*breaks, (len(sentence), len(sentence))]:
        leads = phrasing.leads.match(sentence, start)
        start = start if leads is None else leads.end()
        if start < len(sentence):
            text, before = sentence[start : start + _MAX_CHARACTERS], sentence[max(0, start - _MAX_CHARACTERS) : start]
            yield _Clause(start, text, before, last_end, addressee, is_hypothetical)
        words = sentence[start:end]
        addressee = words if _are_people(words, sentence, phrasing) else None
        start, last_end = max(start, next_start), end


def _match(clause: _Clause, phrasing: Phrasing) -> _Match | None:
    times = phrasing.times.match(clause.text)
    start = 0 if times is None else times.end()
    for strength, rule in phrasing.rules:
        match = rule.match(clause.text, start)
        if match is None or not _is_task(match, strength, clause, phrasing):
            continue
        owner = match.groupdict().get("who") or clause.addressee or _trailing_name(match, clause, phrasing)
        # The time before a task belongs to it.
        return _Match(
            "named" if strength == "named" else "mentioned",
            None if owner is None or start else _spelled(owner, phrasing),
            _task_start(match),
        )
    return None


def _is_task(match: re.Match[str], strength: Strength, clause: _Clause, phrasing: Phrasing) -> bool:
    text, who = match.string, match.groupdict().get("who")
    if who is not None and not _are_people(who, clause.text, phrasing):
        return False
    if strength == "named":
        return True
    has_deadline = phrasing.deadline.search(text) is not None
    is_doubtful = clause.is_hypothetical or phrasing.not_items.search(text) is not None
    if phrasing.reported.search(clause.before.rstrip()) or (
        is_doubtful and not has_deadline and strength != "requests"
    ):
        return False
    if strength == "passive":
        return phrasing.not_passive.search(text) is None
    return _is_task_by_words(text[_task_start(match) :], strength, clause, phrasing, has_deadline=has_deadline)


def _is_task_by_words(
    what: str, strength: Strength, clause: _Clause, phrasing: Phrasing, *, has_deadline: bool
) -> bool:
    endings = () if strength in ("command", "imperative") else phrasing.endings
    begins_as_task = _matched_length(what, phrasing.tasks, endings)
    if len(what.split()) < _MIN_TASK_WORDS or begins_as_task < _matched_length(what, phrasing.not_tasks, endings):
        return False
    match strength:
        case "weak":
            return has_deadline or begins_as_task > 0
        case "dated":
            return has_deadline
        case "present":
            return has_deadline and begins_as_task > 0
        case "command":
            return begins_as_task > 0 and not clause.before
        case "imperative":
            return begins_as_task > 0 and (clause.addressee is not None or (has_deadline and not clause.before))
        case _:
            return True


def _matched_length(what: str, beginnings: Iterable[re.Pattern[str]], endings: Sequence[str]) -> int:
    forms = (what, *_base_forms(what, endings))
    return max((match.end() for form in forms for rule in beginnings if (match := rule.match(form))), default=0)


def _base_forms(what: str, endings: Iterable[str]) -> Iterator[str]:
    word, blank, rest = what.partition(" ")
    for ending in endings:
        if (stem := word.removesuffix(ending)) not in ("", word):
            yield f"{stem}{blank}{rest}"
            yield f"{stem}e{blank}{rest}"
            if stem[-1:] == stem[-2:-1]:
                yield f"{stem[:-1]}{blank}{rest}"


def _task_start(match: re.Match[str]) -> int:
    groups = match.groupdict()
    return match.start("what" if "what" in groups else "task" if "task" in groups else 0)


def _trailing_name(match: re.Match[str], clause: _Clause, phrasing: Phrasing) -> str | None:
    is_addressed = phrasing.addressed.search(match.string[: _task_start(match)]) is not None
    name = _TRAILING_NAME.search(clause.text) if is_addressed else None
    return name[1] if name and name[1].istitle() and _are_people(name[1], clause.text, phrasing) else None


def _are_people(words: str, sentence: str, phrasing: Phrasing) -> bool:
    if phrasing.people.fullmatch(words):
        return True
    names = [word for word in words.split() if word not in phrasing.conjunctions]
    # Without capitals, a model marks no names.
    is_marked = sentence != sentence.lower()
    return 0 < len(names) <= _MAX_NAMES and all(
        name.lower() not in phrasing.not_people and (name[0].isupper() or not is_marked) for name in names
    )


def _spelled(owner: str, phrasing: Phrasing) -> str:
    if owner != owner.lower() or phrasing.people.fullmatch(owner):
        return owner[0].upper() + owner[1:]
    return " ".join(word if word in phrasing.conjunctions else word[0].upper() + word[1:] for word in owner.split())
