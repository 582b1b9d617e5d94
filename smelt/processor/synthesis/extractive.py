"""Outputs without a language model: nothing but what was said, chosen and put in order.

It never invents a sentence, and where it finds nothing it says so.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from smelt.contract.vocabulary import PromptName
from smelt.processor.synthesis.action_items import ActionItem, action_items, owners
from smelt.processor.synthesis.markdown import TITLES, as_sentence, capitalised, clock, heading, inline
from smelt.processor.synthesis.people import names_in
from smelt.processor.synthesis.questions import question_pairs
from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.source import OnShare, Order, Source
from smelt.processor.synthesis.topics import Topic, topics_of
from smelt.processor.synthesis.words import is_english

NOTHING_SAID: Final = "_No speech was found._"
_ONLY_IN_ENGLISH: Final = (
    "_This worker runs without a language model, and finds action items in English alone. Here is the transcript._"
)
_OWN_PROMPT: Final = (
    "_A prompt of your own needs a language model; this worker runs without one. Here is the transcript._"
)
_SUMMARY_SHARE: Final = 0.2
_SUMMARY_LEAST, _SUMMARY_MOST = 3, 8
_NOTES_A_TOPIC: Final = 24


class ExtractiveSynthesizer:
    """Chooses and orders sentences of the source; deterministic, offline."""

    typical_s: Final = 0.3

    async def synthesize(self, source: Source, order: Order, on_share: OnShare) -> str:
        """The output for one source, made in a thread."""
        content = await asyncio.to_thread(render, source, order)
        on_share(1.0)
        return content

    async def aclose(self) -> None:
        """Nothing is held."""


def render(source: Source, order: Order) -> str:
    """Every prompt of the order over one source; several get a heading each, none gives the transcript."""
    if not source.sentences:
        return NOTHING_SAID
    reading = _Reading(source)
    parts = [(TITLES[name], write(reading)) for name, write in _WRITERS.items() if name in order.prompts]
    if order.user_prompt is not None:
        parts.append((order.user_prompt.name, f"{_OWN_PROMPT}\n\n{_transcript(reading)}"))
    if not parts:
        return _transcript(reading)
    if len(parts) == 1:
        return parts[0][1]
    return "\n\n".join(f"{heading(2, title)}\n\n{body}" for title, body in parts)


class _Reading:
    """A source that was read once for all of its prompts."""

    def __init__(self, source: Source) -> None:
        self.sentences = source.sentences
        self.texts = [sentence.text for sentence in source.sentences]
        self.ranking = Ranking(self.texts, source.language)
        self.is_english = is_english(source.language)
        self.items = action_items(self.texts, source.language)
        self.names = owners(self.items) | names_in(self.texts) if self.is_english else frozenset[str]()

    def line(self, index: int) -> str:
        return as_sentence(self.texts[index], self.names)

    def title(self, topic: Topic) -> str:
        words = capitalised(topic.title, self.names)
        start_s = self.sentences[topic.sentences.start].start_s
        return words[:1].upper() + words[1:] + ("" if start_s is None else f" ({clock(start_s)})")


def _transcript(reading: _Reading) -> str:
    return " ".join(reading.line(index) for index in range(len(reading.texts)))


def _summary(reading: _Reading) -> str:
    count = min(_SUMMARY_MOST, max(_SUMMARY_LEAST, round(len(reading.texts) * _SUMMARY_SHARE)))
    return " ".join(reading.line(index) for index in reading.ranking.best(count))


def _action_list(reading: _Reading) -> str:
    if not reading.items and not reading.is_english:
        return f"{_ONLY_IN_ENGLISH}\n\n{_transcript(reading)}"
    named = [_action_line(item, reading) for item in reading.items if item.kind == "named"]
    mentioned = [_action_line(item, reading) for item in reading.items if item.kind == "mentioned"]
    if not named or not mentioned:
        return "\n".join(named or mentioned) or "_No action items were found._"
    return "\n".join([*named, "", "Also mentioned:", "", *mentioned])


def _action_line(item: ActionItem, reading: _Reading) -> str:
    task = inline(capitalised(item.task, reading.names))
    return f"- [ ] {task[:1].upper() + task[1:]}" if item.owner is None else f"- [ ] {inline(item.owner)}: {task}"


def _notes(reading: _Reading) -> str:
    return "\n\n".join(_topic_notes(reading, topic) for topic in topics_of(reading.ranking, len(reading.texts)))


def _topic_notes(reading: _Reading, topic: Topic) -> str:
    ranked = sorted(topic.sentences, key=lambda index: (-reading.ranking.scores[index], index))
    lines = [f"- {reading.line(index)}" for index in sorted(ranked[:_NOTES_A_TOPIC])]
    return "\n".join([heading(3, reading.title(topic)), "", *lines])


def _questions(reading: _Reading) -> str:
    pairs = question_pairs(reading.texts, reading.ranking)
    answered = (
        f"**Q: {inline(capitalised(pair.question, reading.names))}**\n\n"
        f"A: {' '.join(reading.line(index) for index in pair.answers) or '_No answer was found._'}"
        for pair in pairs
    )
    return "\n\n".join(answered) or "_No questions were found._"


def _contents(reading: _Reading) -> str:
    topics = topics_of(reading.ranking, len(reading.texts))
    return "\n".join(f"{number}. {inline(reading.title(topic))}" for number, topic in enumerate(topics, start=1))


_WRITERS: Final[dict[PromptName, Callable[[_Reading], str]]] = {
    "summarize": _summary,
    "action_items": _action_list,
    "detailed_notes": _notes,
    "qa_format": _questions,
    "table_of_contents": _contents,
}
