"""Extractive outputs: one function for each default prompt. Pure."""

from typing import Final

from smelt.processor.synthesis.action_items import ActionItem, action_items, owners
from smelt.processor.synthesis.markdown import as_sentence, capitalised, clock, heading, inline
from smelt.processor.synthesis.people import names_in
from smelt.processor.synthesis.questions import question_pairs
from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.request import SynthesisInput
from smelt.processor.synthesis.topics import Topic, topics_of
from smelt.processor.synthesis.words import is_english

_ONLY_IN_ENGLISH: Final = (
    "_This worker runs without a language model, and finds action items in English alone. Here is the transcript._"
)
_SUMMARY_SHARE: Final = 0.2
_MIN_SUMMARY_SENTENCES, _MAX_SUMMARY_SENTENCES = 3, 8
_NOTES_A_TOPIC: Final = 24


class Reading:
    """A source, analyzed once for all of its prompts."""

    def __init__(self, source: SynthesisInput) -> None:
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


def transcript(reading: Reading) -> str:
    """The whole text, sentence by sentence."""
    return " ".join(reading.line(index) for index in range(len(reading.texts)))


def summary(reading: Reading) -> str:
    """The sentences that carry the text, in their order."""
    count = min(_MAX_SUMMARY_SENTENCES, max(_MIN_SUMMARY_SENTENCES, round(len(reading.texts) * _SUMMARY_SHARE)))
    return " ".join(reading.line(index) for index in reading.ranking.best(count))


def action_list(reading: Reading) -> str:
    """A task list of the action items; in other languages than English, the transcript with a notice."""
    if not reading.items and not reading.is_english:
        return f"{_ONLY_IN_ENGLISH}\n\n{transcript(reading)}"
    named = [_action_line(item, reading) for item in reading.items if item.kind == "named"]
    mentioned = [_action_line(item, reading) for item in reading.items if item.kind == "mentioned"]
    if not named or not mentioned:
        return "\n".join(named or mentioned) or "_No action items were found._"
    return "\n".join([*named, "", "Also mentioned:", "", *mentioned])


def _action_line(item: ActionItem, reading: Reading) -> str:
    task = inline(capitalised(item.task, reading.names))
    return f"- [ ] {task[:1].upper() + task[1:]}" if item.owner is None else f"- [ ] {inline(item.owner)}: {task}"


def detailed_notes(reading: Reading) -> str:
    """A heading and the main sentences for each topic."""
    return "\n\n".join(_topic_notes(reading, topic) for topic in topics_of(reading.ranking, len(reading.texts)))


def _topic_notes(reading: Reading, topic: Topic) -> str:
    ranked = sorted(topic.sentences, key=lambda index: (-reading.ranking.scores[index], index))
    lines = [f"- {reading.line(index)}" for index in sorted(ranked[:_NOTES_A_TOPIC])]
    return "\n".join([heading(3, reading.title(topic)), "", *lines])


def questions_and_answers(reading: Reading) -> str:
    """Each question with the sentences that answer it."""
    pairs = question_pairs(reading.texts, reading.ranking)
    answered = (
        f"**Q: {inline(capitalised(pair.question, reading.names))}**\n\n"
        f"A: {' '.join(reading.line(index) for index in pair.answers) or '_No answer was found._'}"
        for pair in pairs
    )
    return "\n\n".join(answered) or "_No questions were found._"


def table_of_contents(reading: Reading) -> str:
    """A numbered list of the topics with their start times."""
    topics = topics_of(reading.ranking, len(reading.texts))
    return "\n".join(f"{number}. {inline(reading.title(topic))}" for number, topic in enumerate(topics, start=1))
