"""The default prompts: title, and instruction to a language model; and the text of several outputs.

`PromptName` in `smelt.contract.vocabulary` lists their names; each has one record here, and one extractive writer in
`extracts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smelt.contract.vocabulary import PromptName
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.request import SynthesisRequest


@dataclass(frozen=True)
class Prompt:
    """A default prompt: its heading, and its instruction to a language model."""

    name: PromptName
    title: str
    instruction: str


PROMPTS: Final[tuple[Prompt, ...]] = (
    Prompt(
        "summarize",
        "Summary",
        "Summarize the transcript in a few short paragraphs: its subject, what was decided, what is open.",
    ),
    Prompt(
        "action_items",
        "Action items",
        "List every action item as `- [ ] Owner: task, due date`. Leave out what was not said; if there is no action "
        "item, say so in one sentence.",
    ),
    Prompt(
        "detailed_notes",
        "Detailed notes",
        "Write detailed notes: a `###` heading for each topic, in order, with bullet points under it.",
    ),
    Prompt(
        "qa_format",
        "Questions and answers",
        "Write questions and answers about all that matters, each as `**Q: ...**`, an empty line, `A: ...`.",
    ),
    Prompt(
        "table_of_contents",
        "Table of contents",
        "Write a numbered table of contents of the topics, in order, one line each.",
    ),
)


def default_prompts(request: SynthesisRequest) -> tuple[Prompt, ...]:
    """Return the default prompts of a request, in the order of the contract."""
    return tuple(prompt for prompt in PROMPTS if prompt.name in request.prompts)


def titles_of(request: SynthesisRequest) -> tuple[str, ...]:
    """Return the titles of the outputs of a request, in their order: the user's own prompt is the last."""
    own = () if request.user_prompt is None else (request.user_prompt.name,)
    return (*(prompt.title for prompt in default_prompts(request)), *own)


def joined(request: SynthesisRequest, outputs: Sequence[str]) -> str:
    """Return all outputs of a request as one text: several have a heading each."""
    if len(outputs) == 1:
        return outputs[0]
    headed = zip(titles_of(request), outputs, strict=True)
    return "\n\n".join(f"{heading(2, title)}\n\n{output}" for title, output in headed)
