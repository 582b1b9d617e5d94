"""Extractive outputs: one function for each default prompt. Pure."""

from collections.abc import Callable
from typing import Final

from smelt.contract.vocabulary import PromptName
from smelt.processor.synthesis.action_items import ActionItem, action_items, owners
from smelt.processor.synthesis.markdown import as_sentence, capitalized, clock, heading, inline
from smelt.processor.synthesis.people import names_in
from smelt.processor.synthesis.questions import question_pairs
from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.request import SynthesisInput
from smelt.processor.synthesis.topics import Topic, topics_of
from smelt.processor.synthesis.words import is_english

_ONLY_IN_ENGLISH: Final = (
    "_Without a language model, this worker finds action items only in English. The transcript follows._"
)
_SUMMARY_SHARE: Final = 0.2
_MIN_SUMMARY_SENTENCES, _MAX_SUMMARY_SENTENCES = 3, 8
_MAX_NOTES_PER_TOPIC: Final = 24


class Analysis:
    """A source, analyzed once for all of its prompts."""

    def __init__(self, source: SynthesisInput) -> None:
        self.sentences = source.sentences
        self.texts = [sentence.text for sentence in source.sentences]
        self.ranking = Ranking(self.texts, source.language)
        self.is_english = is_english(source.language)
        self.items = action_items(self.texts, source.language)
        self.names = owners(self.items) | names_in(self.texts) if self.is_english else frozenset[str]()

    def sentence(self, index: int) -> str:
        return as_sentence(self.texts[index], self.names)

    def title(self, topic: Topic) -> str:
        words = capitalized(topic.title, self.names)
        start_s = self.sentences[topic.sentences.start].start_s
        return words[:1].upper() + words[1:] + ("" if start_s is None else f" ({clock(start_s)})")


def transcript(analysis: Analysis) -> str:
    """Return the whole text."""
    return " ".join(analysis.sentence(index) for index in range(len(analysis.texts)))


def summary(analysis: Analysis) -> str:
    """Return the most central sentences, in their order."""
    count = min(_MAX_SUMMARY_SENTENCES, max(_MIN_SUMMARY_SENTENCES, round(len(analysis.texts) * _SUMMARY_SHARE)))
    return " ".join(analysis.sentence(index) for index in analysis.ranking.best(count))


def action_list(analysis: Analysis) -> str:
    """Return a task list of the action items; for other languages than English, the transcript with a notice."""
    if not analysis.items and not analysis.is_english:
        return f"{_ONLY_IN_ENGLISH}\n\n{transcript(analysis)}"
    named = [_action_line(item, analysis) for item in analysis.items if item.kind == "named"]
    mentioned = [_action_line(item, analysis) for item in analysis.items if item.kind == "mentioned"]
    if not named or not mentioned:
        return "\n".join(named or mentioned) or "_No action items were found._"
    return "\n".join([*named, "", "Also mentioned:", "", *mentioned])


def _action_line(item: ActionItem, analysis: Analysis) -> str:
    task = inline(capitalized(item.task, analysis.names))
    return f"- [ ] {task[:1].upper() + task[1:]}" if item.owner is None else f"- [ ] {inline(item.owner)}: {task}"


def detailed_notes(analysis: Analysis) -> str:
    """Return a heading and the main sentences of each topic."""
    return "\n\n".join(_topic_notes(analysis, topic) for topic in topics_of(analysis.ranking, len(analysis.texts)))


def _topic_notes(analysis: Analysis, topic: Topic) -> str:
    ranked = sorted(topic.sentences, key=lambda index: (-analysis.ranking.scores[index], index))
    lines = [f"- {analysis.sentence(index)}" for index in sorted(ranked[:_MAX_NOTES_PER_TOPIC])]
    return "\n".join([heading(3, analysis.title(topic)), "", *lines])


def question_list(analysis: Analysis) -> str:
    """Return each question with the sentences that answer it."""
    pairs = question_pairs(analysis.texts, analysis.ranking)
    blocks = (
        f"**Q: {inline(capitalized(pair.question, analysis.names))}**\n\n"
        f"A: {' '.join(analysis.sentence(index) for index in pair.replies) or '_No answer was found._'}"
        for pair in pairs
    )
    return "\n\n".join(blocks) or "_No questions were found._"


def table_of_contents(analysis: Analysis) -> str:
    """Return a numbered list of the topics with their start times."""
    topics = topics_of(analysis.ranking, len(analysis.texts))
    return "\n".join(f"{number}. {inline(analysis.title(topic))}" for number, topic in enumerate(topics, start=1))


EXTRACTS: Final[dict[PromptName, Callable[[Analysis], str]]] = {
    "summarize": summary,
    "action_items": action_list,
    "detailed_notes": detailed_notes,
    "qa_format": question_list,
    "table_of_contents": table_of_contents,
}
"""The extractive writer of each default prompt."""
