"""Outputs of a language model cite only times of the transcript."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.processor.synthesis.llm.citations import Citations
from smelt.processor.synthesis.markdown import clock
from smelt.processor.synthesis.request import SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import Sentence
from tests.unit.processor.test_llm import synthesizer

CITATION = re.compile(r"\[([\d:]+)\]")
SENTENCES = tuple(
    Sentence(f"Number {n} was discussed at length.", n * 47.5, f"Speaker {n // 5 % 2 + 1}") for n in range(100)
)
TIMES = {clock(sentence.start_s or 0.0) for sentence in SENTENCES}


@pytest.mark.parametrize(
    ("text", "checked"),
    [
        ("The budget is late [00:12].", "The budget is late [00:12]."),
        ("Within a sentence [00:15].", "Within a sentence [00:12]."),
        ("Other forms [0:12] [00:00:12] [62:05].", "Other forms [00:12] [00:12] [1:02:05]."),
        ("A list [00:00, 00:12] and a range [00:00-00:15].", "A list [00:00] [00:12] and a range [00:00] [00:12]."),
        ("Twice [00:12; 00:13].", "Twice [00:12]."),
        ("Never [45:00].", "Never."),
        ("Partly [45:00, 00:12].", "Partly [00:12]."),
        ("Impossible [00:75] [0:123] [123:456].", "Impossible."),
        ("[59:59] First.\n- [59:59] Second", "First.\n- Second"),
        ("- [ ] Anna: call Ben at 12:30 [00:12]", "- [ ] Anna: call Ben at 12:30 [00:12]"),
        ("[a link](b) and [1] stay", "[a link](b) and [1] stay"),
        ("[59:59] \t[00:12] First.", "[00:12] First."),
        ("[00:12] [00:12]  [59:59] [00:13]\n  [59:59]", "[00:12] [00:12] [00:12]\n"),
    ],
)
def test_citation_is_corrected_to_the_start_of_its_sentence_or_removed(text: str, checked: str) -> None:
    assert Citations([0.0, 12.4, 3725.9]).checked(text) == checked


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["Tea" + " " * 1_000_000 + "is fine.", "[1:" + "1" * 1_000_000])
def test_citations_of_an_endless_repetition_are_checked_in_linear_time(text: str) -> None:
    # In quadratic time, a repetition of this length would take hours.
    assert Citations([0.0]).checked(text) == text


def test_citations_of_a_text_without_times_stay() -> None:
    assert Citations([None, None]).checked("At [12:30].") == "At [12:30]."


@given(st.text(alphabet="[]0123456789:,- \na", max_size=80))
def test_citation_that_remains_is_in_the_transcript(text: str) -> None:
    checked = Citations([0.0, 61.0, 3700.0]).checked(text)
    assert {found for found in CITATION.findall(checked) if ":" in found.strip(":")} <= {"00:00", "01:01", "1:01:40"}


async def test_llm_cites_only_times_of_the_transcript_over_all_parts_in_order() -> None:
    outputs: list[str] = []

    def respond(messages: list[dict[str, str]]) -> str:
        data = json.loads(messages[-1]["content"])
        assert "cite the time" in messages[1]["content"]
        if "notes" in data:
            assert data["notes"] == outputs[-len(data["notes"]) :]
            assert {time for note in data["notes"] for time in CITATION.findall(note)} <= TIMES
            return "\n".join(f"- {note} [{n}:01:59] [99:99]" for n, note in enumerate(data["notes"]))
        marks = CITATION.findall(data["transcript"])
        assert set(marks) <= TIMES
        assert data["transcript"].startswith(f"[{marks[0]}] Speaker ")
        outputs.append(f"From [{marks[0]}] to [{marks[-1]}].")
        return f"From [{marks[0]}] to [{marks[-1]}]{' [88:88]' if data['part'] % 2 else ''}."

    source = SynthesisInput(filename="x", language="en", sentences=SENTENCES)
    request = SynthesisRequest(prompts=("summarize",), user_prompt=None)
    async with synthesizer(respond, llm_context_tokens=1300) as (made, model):
        content = await made.synthesize(source, request, lambda _: None)
    cited = CITATION.findall(content)
    assert len(model.conversations) > 3
    assert set(cited) <= TIMES
    from_parts = [time for output in outputs for time in CITATION.findall(output)]
    assert [time for line in content.splitlines() for time in CITATION.findall(line)[:2]] == from_parts
    assert from_parts[0] == "00:00"
    assert from_parts[-1] == clock(SENTENCES[-1].start_s or 0.0)
