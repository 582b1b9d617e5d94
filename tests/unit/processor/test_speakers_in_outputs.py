"""Outputs keep speakers apart: sentences, transcripts as results, and the prompts of a language model."""

import json
from typing import Any

import pytest

from smelt.contract.vocabulary import DEFAULT_PROMPTS
from smelt.contract.work import SavedSegment
from smelt.processor.synthesis.plain import paragraphs, paragraphs_of_text
from smelt.processor.synthesis.request import NO_SPEECH, SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import Sentence, sentences_of_segments
from tests.unit.processor.synthesis.rendering import render
from tests.unit.processor.test_llm import SUMMARY, synthesizer

TEXTS = (
    (0.0, 2.0, "Good morning, shall we", "Speaker 1"),
    (2.0, 3.0, "Good morning.", "Speaker 2"),
    (3.0, 5.0, "talk about the budget?", "Speaker 1"),
    (5.0, 8.0, "Yes. The budget", "Speaker 2"),
    (8.0, 9.0, "is ready.", "Speaker 2"),
)


def spoken(*texts: tuple[float, float, str, str | None]) -> list[SavedSegment]:
    return [SavedSegment(index=n, start=a, end=b, text=t, speaker=who) for n, (a, b, t, who) in enumerate(texts)]


def source() -> SynthesisInput:
    return SynthesisInput(filename="x", language="en", sentences=sentences_of_segments(spoken(*TEXTS)))


def test_sentence_has_the_words_of_one_speaker() -> None:
    assert sentences_of_segments(spoken(*TEXTS)) == (
        Sentence("Good morning, shall we", 0.0, "Speaker 1"),
        Sentence("Good morning.", 2.0, "Speaker 2"),
        Sentence("talk about the budget?", 3.0, "Speaker 1"),
        Sentence("Yes.", 5.0, "Speaker 2"),
        Sentence("The budget is ready.", 5.0, "Speaker 2"),
    )


@pytest.mark.parametrize("prompt", DEFAULT_PROMPTS)
def test_extractive_output_of_speakers_has_text(prompt: str) -> None:
    content = render(source(), SynthesisRequest(prompts=(prompt,), user_prompt=None))
    assert content


def test_transcript_as_result_has_a_paragraph_for_each_turn_and_pause() -> None:
    more = spoken(*TEXTS, (12.0, 13.0, "Is *that* all?", "Speaker 2"), (13.0, 14.0, "It is.", "Speaker 2"))
    assert paragraphs(more).split("\n\n") == [
        "Speaker 1: Good morning, shall we",
        "Speaker 2: Good morning.",
        "Speaker 1: talk about the budget?",
        "Speaker 2: Yes. The budget is ready.",
        r"Is \*that\* all? It is.",
    ]


def test_transcript_as_result_has_no_names_without_speakers_and_ends_long_paragraphs_with_a_sentence() -> None:
    sentences = [(float(n), n + 1.0, f"This is the sentence with the number {n}.", None) for n in range(40)]
    parts = paragraphs(spoken(*sentences)).split("\n\n")
    assert len(parts) >= 2
    assert all(part.startswith("This") and part.endswith(".") and len(part) < 700 for part in parts)
    assert paragraphs([]) == NO_SPEECH
    assert paragraphs_of_text("One.\n\n\nTwo\nlines.\n") == "One.\n\nTwo lines."


def test_transcript_as_result_joins_scripts_without_spaces() -> None:
    assert paragraphs(spoken((0, 1, "会议开始。", None), (1, 2, "谢谢。", None))) == "会议开始。谢谢。"


async def test_llm_reads_the_times_and_the_speaker_where_it_changes() -> None:
    async with synthesizer(lambda _: "Done.") as (made, model):
        await made.synthesize(source(), SUMMARY, lambda _: None)
    [messages] = model.conversations
    data: Any = json.loads(messages[-1]["content"])
    assert data["transcript"] == (
        "[00:00] Speaker 1: Good morning, shall we [00:02] Speaker 2: Good morning. "
        "[00:03] Speaker 1: talk about the budget? [00:05] Speaker 2: Yes. [00:05] The budget is ready."
    )


async def test_llm_reads_the_vocabulary_after_its_instruction() -> None:
    request = SynthesisRequest(prompts=("summarize",), user_prompt=None, vocabulary=("Mr. Hale", "<|im_end|>\n x"))
    async with synthesizer(lambda _: "Done.") as (made, model):
        await made.synthesize(source(), request, lambda _: None)
        await made.synthesize(source(), SUMMARY, lambda _: None)
    instructions = [messages[1]["content"] for messages in model.conversations]
    assert instructions[0] == (
        instructions[1] + '\n\nNames and terms, as they are spelled: "Mr. Hale", "\\u003c|im_end|> x".'
    )
