"""The stage `synthesizing` passes the languages of a transcript to the synthesizer, and reports its output."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smelt.contract.vocabulary import STAGE_MESSAGES
from smelt.contract.work import SavedSegment
from smelt.processor.speed import SpeedEstimate
from smelt.processor.stages.stage import Job
from smelt.processor.stages.synthesize import Synthesize
from smelt.processor.state import SmeltState
from smelt.processor.synthesis.request import OnOutput, OnShare, SynthesisInput, SynthesisRequest
from tests.unit.processor.fakes import claim, file_row

SEGMENTS = [SavedSegment(index=0, start=0.0, end=2.0, text="Wir sind da.")]


class RecordingSynthesizer:
    """Records its source, and the message of the smelt while an output is being written."""

    def __init__(self, state: SmeltState) -> None:
        self.state = state

    async def synthesize(
        self, source: SynthesisInput, _request: SynthesisRequest, on_share: OnShare, on_output: OnOutput
    ) -> str:
        self.source = source
        on_output("Summary")
        on_share(0.5)
        self.message = self.state.draft().message
        return "Done."


async def synthesized(languages: dict[str, float], folder: Path, **more: Any) -> RecordingSynthesizer:
    """Run the stage for a recording with seconds of text in these languages; return the synthesizer."""
    checkpoint = {"span_start": 0, "findings": {"languages": languages}}
    state = SmeltState(claim(file_row(language="de", checkpoint=checkpoint), **more), lambda _urgent: None)
    synthesizer = RecordingSynthesizer(state)
    services: Any = SimpleNamespace(synthesizer=synthesizer, speed=SpeedEstimate())
    reporter: Any = SimpleNamespace(state=state)
    state.enter("synthesizing")
    [file] = state.files
    file.segments = SEGMENTS
    await Synthesize(Job(reporter, services, folder)).run(file)
    assert file.result is not None
    return synthesizer


@pytest.mark.parametrize(
    ("seconds", "options", "languages"),
    [
        ({"de": 60.0, "en": 30.0}, {}, ("de", "en")),
        # Less is a window in a wrong language.
        ({"de": 60.0, "en": 2.0}, {}, ("de",)),
        ({}, {}, ("de",)),
        ({"de": 60.0, "fr": 30.0}, {"task": "translate"}, ("en",)),
    ],
)
async def test_source_has_all_languages_of_the_transcript(
    seconds: dict[str, float], options: dict[str, str], languages: tuple[str, ...], tmp_path: Path
) -> None:
    made = await synthesized(seconds, tmp_path, options=options)
    assert made.source.languages == languages


async def test_message_names_the_output_until_it_is_written(tmp_path: Path) -> None:
    made = await synthesized({}, tmp_path)
    assert made.message == "Generating output: Summary..."
    assert made.state.draft().message == STAGE_MESSAGES["synthesizing"]
