"""The stage `synthesizing` passes the languages of a transcript to the synthesizer, and reports its output."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smelt.contract.events import Output
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
    """Records its source, and what is reported while an output is being written."""

    def __init__(self, state: SmeltState) -> None:
        self.state = state

    async def synthesize(
        self, source: SynthesisInput, _request: SynthesisRequest, on_share: OnShare, on_output: OnOutput
    ) -> str:
        self.source = source
        on_output(0, "So", False)
        on_share(0.5)
        self.draft = self.state.draft()
        on_output(0, "So far.", True)
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
    assert made.draft.message == "Generating output: Summary..."
    assert made.state.draft().message == STAGE_MESSAGES["synthesizing"]


async def test_output_is_reported_as_it_is_written_and_each_change_once(tmp_path: Path) -> None:
    made = await synthesized({}, tmp_path)
    state, [file] = made.state, made.state.files
    so_far = Output(file_id=file.id, position=0, title="Summary", content="So", is_complete=False)
    complete = so_far.model_copy(update={"content": "So far.", "is_complete": True})
    assert made.draft.changed_outputs == (so_far,)
    assert state.draft().changed_outputs == (complete,)
    # A report whose response is lost is repeated with what has changed meanwhile.
    state.confirm(made.draft)
    assert state.draft().changed_outputs == (complete,)
    state.confirm(state.draft())
    assert state.draft().changed_outputs == ()
    assert state.draft().outputs == (complete,)
