"""The default prompts: title, instruction to a language model, and extractive writer.

`PromptName` in `smelt.contract.vocabulary` lists their names; each has one record here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from smelt.contract.vocabulary import PromptName
from smelt.processor.synthesis import extracts
from smelt.processor.synthesis.extracts import Analysis
from smelt.processor.synthesis.request import SynthesisRequest


@dataclass(frozen=True)
class Prompt:
    """A default prompt: its heading, its instruction to a language model, and its extractive writer."""

    name: PromptName
    title: str
    instruction: str
    extract: Callable[[Analysis], str]


PROMPTS: Final[tuple[Prompt, ...]] = (
    Prompt(
        "summarize",
        "Summary",
        "Summarize the transcript in a few short paragraphs: its subject, what was decided, what is open.",
        extracts.summary,
    ),
    Prompt(
        "action_items",
        "Action items",
        "List every action item as `- [ ] Owner: task, due date`. Leave out what was not said; if there is no action "
        "item, say so in one sentence.",
        extracts.action_list,
    ),
    Prompt(
        "detailed_notes",
        "Detailed notes",
        "Write detailed notes: a `###` heading for each topic, in order, with bullet points under it.",
        extracts.detailed_notes,
    ),
    Prompt(
        "qa_format",
        "Questions and answers",
        "Write questions and answers about all that matters, each as `**Q: ...**`, an empty line, `A: ...`.",
        extracts.question_list,
    ),
    Prompt(
        "table_of_contents",
        "Table of contents",
        "Write a numbered table of contents of the topics, in order, one line each.",
        extracts.table_of_contents,
    ),
)


def default_prompts(request: SynthesisRequest) -> tuple[Prompt, ...]:
    """Return the default prompts of a request, in the order of the contract."""
    return tuple(prompt for prompt in PROMPTS if prompt.name in request.prompts)
