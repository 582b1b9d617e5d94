"""Extractive outputs: one function for each default prompt. Pure.

All sentences are those of the speakers; a notice in italics states why there are none.
"""

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final

from smelt.contract.vocabulary import PromptName
from smelt.processor.synthesis.action_items import ActionItem, action_items, owners
from smelt.processor.synthesis.markdown import as_sentence, capitalized, clock, heading, inline
from smelt.processor.synthesis.people import names_in
from smelt.processor.synthesis.phrasing import SUPPORTED, phrasings_of
from smelt.processor.synthesis.questions import Pair, has_marks, question_pairs
from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.request import SynthesisInput
from smelt.processor.synthesis.sentences import QUESTIONING
from smelt.processor.synthesis.subjects import guessed_language
from smelt.processor.synthesis.topics import Topic, topics_of
from smelt.processor.synthesis.words import length_in_words
from smelt.transcripts.formats import speaker_labels

_SUPPORTED: Final = f"{', '.join(SUPPORTED[:-1])} and {SUPPORTED[-1]}"
_NO_RULES: Final = f"_Without a language model, this worker finds action items only in {_SUPPORTED}._"
_NO_MARKS: Final = (
    f"_The transcript has no question marks. Without a language model, this worker finds questions without a mark "
    f"only in {_SUPPORTED}._"
)
_TOO_SHORT: Final = "_The text is too short for a summary. This is all of it:_"
_NO_TOPICS: Final = "_The text is too short for a table of contents._"
_SUMMARY_SHARE: Final = 0.2
_MIN_SUMMARY_SENTENCES, _MAX_SUMMARY_SENTENCES = 3, 8
_MAX_NOTES_PER_TOPIC: Final = 10
# Of sentences without any word that may be a subject.
_MIN_CONTENT_WORDS: Final = 5
# A word at least three times in a row: where that is most of a sentence, a model has repeated itself.
_REPEATED: Final = re.compile(r"\b(\w+)(?:\W+\1\b){2,}", re.IGNORECASE)


class Analysis:
    """A source, analyzed once for all of its prompts."""

    def __init__(self, source: SynthesisInput) -> None:
        self.sentences = source.sentences
        self.texts = [sentence.text for sentence in source.sentences]
        languages = source.languages or (guessed_language(" ".join(self.texts)),)
        self.languages = languages
        self.phrasings = phrasings_of(languages)
        self.ranking = Ranking(self.texts, languages)
        self.items = action_items(self.texts, languages)
        self.names = owners(self.items) | names_in(self.texts) if "en" in languages else frozenset[str]()

    @cached_property
    def topics(self) -> list[Topic]:
        """The topics of the text, at least one."""
        return topics_of(self.texts, self.ranking, self.languages)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The questions of the text, with their answers."""
        return question_pairs(self.sentences, self.languages)

    def sentence(self, index: int) -> str:
        return as_sentence(self.texts[index], self.names)

    def title(self, number: int) -> str:
        topic = self.topics[number]
        words = capitalized(", ".join(topic.phrases), self.names) or f"part {number + 1}"
        return words[:1].upper() + words[1:] + self.time(topic.sentences.start)

    def time(self, index: int) -> str:
        """Return the time at which a sentence begins, in parentheses after a blank; empty if it is not known."""
        start_s = self.sentences[index].start_s
        return "" if start_s is None else f" ({clock(start_s)})"

    def with_content(self, indexes: Iterable[int]) -> list[int]:
        """Return those sentences that have content, unlike `Yeah.`; all, if there are none."""
        indexes = list(indexes)
        return [index for index in indexes if self._has_content(index)] or indexes

    def _has_content(self, index: int) -> bool:
        text = self.texts[index]
        has_words = bool(self.ranking.vectors[index]) or length_in_words(text) >= _MIN_CONTENT_WORDS
        repeated = _REPEATED.search(text)
        return has_words and (repeated is None or 2 * len(repeated[0]) < len(text))


def transcript(analysis: Analysis) -> str:
    """Return the whole text."""
    return " ".join(analysis.sentence(index) for index in range(len(analysis.texts)))


def summary(analysis: Analysis) -> str:
    """Return the most central sentences of all topics, in their order."""
    topics, ranking = analysis.topics, analysis.ranking
    if len(analysis.texts) <= _MIN_SUMMARY_SENTENCES:
        return f"{_TOO_SHORT}\n\n{transcript(analysis)}"
    share = round(len(analysis.texts) * _SUMMARY_SHARE)
    count = max(_MIN_SUMMARY_SENTENCES, min(_MAX_SUMMARY_SENTENCES, share), min(len(topics), share))
    per_topic = -(-count // len(topics))
    asked = {pair.question for pair in analysis.pairs}
    candidates = [i for topic in topics for i in ranking.best(per_topic, analysis.with_content(topic.sentences))]
    best = ranking.best(count, [i for i in candidates if i not in asked] or candidates)
    if len(topics) == 1:
        return " ".join(analysis.sentence(index) for index in best)
    return "\n".join(f"- {analysis.sentence(index)}{analysis.time(index)}" for index in best)


def action_list(analysis: Analysis) -> str:
    """Return a task list of the action items."""
    if not analysis.phrasings and not analysis.items:
        return _NO_RULES
    named = [_action_line(item, analysis) for item in analysis.items if item.kind == "named"]
    mentioned = [_action_line(item, analysis) for item in analysis.items if item.kind == "mentioned"]
    if not named or not mentioned:
        return "\n".join(named or mentioned) or "_No action items were found._"
    return "\n".join([*named, "", "Also mentioned:", "", *mentioned])


def _action_line(item: ActionItem, analysis: Analysis) -> str:
    task, time = inline(capitalized(item.task, analysis.names)), analysis.time(item.sentence)
    owner = item.owner or analysis.sentences[item.sentence].speaker
    task = task if item.owner is not None else task[:1].upper() + task[1:]
    return f"- [ ] {task}{time}" if owner is None else f"- [ ] {inline(owner)}: {task}{time}"


def detailed_notes(analysis: Analysis) -> str:
    """Return a heading and the main sentences of each topic."""
    return "\n\n".join(_topic_notes(analysis, number) for number in range(len(analysis.topics)))


def _topic_notes(analysis: Analysis, number: int) -> str:
    chosen = analysis.with_content(analysis.topics[number].sentences)
    if len(chosen) > _MAX_NOTES_PER_TOPIC:
        chosen = analysis.ranking.best(_MAX_NOTES_PER_TOPIC, chosen)
    labels = speaker_labels(analysis.sentences[index].speaker for index in chosen)
    lines = [
        f"- {inline(label)} {analysis.sentence(index)}" if label else f"- {analysis.sentence(index)}"
        for label, index in zip(labels, chosen, strict=True)
    ]
    return "\n".join([heading(3, analysis.title(number)), "", *lines])


def question_list(analysis: Analysis) -> str:
    """Return each question with the sentences that answer it."""
    if not analysis.phrasings and not has_marks(analysis.sentences):
        return _NO_MARKS
    blocks = (
        f"**Q: {_question(analysis, pair.question)}**{analysis.time(pair.question)}\n\n"
        f"A: {' '.join(analysis.sentence(index) for index in pair.replies) or '_No answer was found._'}"
        for pair in analysis.pairs
    )
    return "\n\n".join(blocks) or "_No questions were found._"


def _question(analysis: Analysis, index: int) -> str:
    text = analysis.sentence(index)
    return text if set(QUESTIONING).intersection(text) else f"{text.rstrip('.')}?"


def table_of_contents(analysis: Analysis) -> str:
    """Return a numbered list of the topics with their start times."""
    count = len(analysis.topics)
    if count == 1:
        return _NO_TOPICS
    return "\n".join(f"{number + 1}. {inline(analysis.title(number))}" for number in range(count))


EXTRACTS: Final[dict[PromptName, Callable[[Analysis], str]]] = {
    "summarize": summary,
    "action_items": action_list,
    "detailed_notes": detailed_notes,
    "qa_format": question_list,
    "table_of_contents": table_of_contents,
}
"""The extractive writer of each default prompt."""
