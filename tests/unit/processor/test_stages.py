"""The database knows of each risk before the work on a file begins, and of its end before the next smelt begins."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import Claim
from smelt.processor.broadcasts import Announcer
from smelt.processor.errors import FileError
from smelt.processor.event_queue import EventQueue
from smelt.processor.metrics import Metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.reporter import Reporter
from smelt.processor.stages.decode import Decode
from smelt.processor.stages.pipeline import Pipeline
from smelt.processor.stages.synthesize import Synthesize
from smelt.processor.stages.transcribe import Transcribe
from smelt.processor.stages.validate import Validate
from smelt.processor.state import FileWork
from tests.unit.processor.fakes import FakeChannel, FakeProject, FakeRpc, claim, file_row

BAD = "bad.mp3"


class Journal(FakeRpc):
    """A database that notes each saved report; it delays the response to the transcript of the smelt `held`."""

    def __init__(self) -> None:
        super().__init__(lambda *_: {"verdict": "go_on", "event": None})
        self.steps: list[tuple[UUID, str, str | None]] = []
        self.held: UUID | None = None
        self.is_waiting = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def call(self, function: str, /, **arguments: Any) -> Any:
        has_transcript = any("transcribed" in file for file in arguments.get("files", ()))
        if has_transcript and self.held == arguments["smelt_id"]:
            self.is_waiting.set()
            await self.may_go_on.wait()
        response = await super().call(function, **arguments)
        if has_transcript:
            self.steps.append((arguments["smelt_id"], "transcript saved", None))
        self.steps.append((arguments["smelt_id"], arguments["status"], arguments.get("risk")))
        return response

    def of(self, smelt: Claim) -> list[tuple[str, str | None]]:
        """Return the steps of a smelt, each once if it is repeated."""
        steps = [step for smelt_id, *step in self.steps if smelt_id == smelt.id]
        kept = [step for place, step in enumerate(steps) if place == 0 or step != steps[place - 1]]
        return [(name, risk) for name, risk in kept]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Replace the work of the stages by a note."""
    journal = Journal()

    def fail_bad(file: FileWork) -> None:
        if file.claimed.filename == BAD:
            raise FileError("corrupted_file", "bad")

    async def validate(self: Validate, _file: FileWork) -> None:
        async with self.job.reporter.at_risk("decode"):
            journal.steps.append((self.job.state.claim.id, "probe", None))

    async def decode(self: Decode, file: FileWork) -> None:
        journal.steps.append((self.job.state.claim.id, "decode", None))
        fail_bad(file)

    async def transcribe(self: Transcribe, file: FileWork) -> None:
        journal.steps.append((self.job.state.claim.id, "transcribe", None))
        file.transcribed, file.trust = True, {}

    async def synthesize(self: Synthesize, _file: FileWork) -> None:
        journal.steps.append((self.job.state.claim.id, "synthesize", None))

    for stage, run in ((Validate, validate), (Decode, decode), (Transcribe, transcribe), (Synthesize, synthesize)):
        monkeypatch.setattr(stage, "run", run)
    return journal


class Services(SimpleNamespace):
    """The services of a worker whose model is loaded."""

    def __init__(self) -> None:
        super().__init__(
            model_queue=ModelQueue(), metrics=Metrics(), synthesis_slots=asyncio.Semaphore(2), dispatcher=None
        )
        self.model = SimpleNamespace(acquire=self._acquire, is_ready=True)

    @staticmethod
    def _acquire() -> AbstractAsyncContextManager[None]:
        return nullcontext()


def pipeline_of(smelt: Claim, journal: Journal, services: Any) -> Pipeline:
    project: Any = FakeProject(journal)
    channel: Any = FakeChannel()
    calls: Any = journal
    reporter = Reporter(
        smelt,
        WorkerRpc(calls),
        EventQueue(Announcer(project, "w"), channel),
        lease_s=30,
        on_verdict=lambda _: None,
        on_renewed=lambda _: None,
        eta_s=lambda: None,
    )
    return Pipeline(reporter, services, Path())


async def test_risk_of_each_stage_is_saved_before_its_work_and_cleared_after_it(journal: Journal) -> None:
    smelt = claim(file_row(), file_row(position=1))
    await pipeline_of(smelt, journal, Services()).run()
    assert journal.of(smelt) == [
        ("validating", "decode"),
        ("probe", None),
        ("decoding", "decode"),
        ("decode", None),
        ("transcribing", "model"),
        ("transcribe", None),
        ("transcript saved", None),
        ("transcribing", "model"),
        ("transcribe", None),
        ("transcript saved", None),
        ("synthesizing", None),
        ("synthesize", None),
    ]


async def test_risk_is_cleared_before_a_stage_that_has_to_wait(journal: Journal) -> None:
    smelt, services = claim(file_row()), Services()
    services.model.is_ready = False
    async with services.synthesis_slots, services.synthesis_slots:
        working = asyncio.create_task(pipeline_of(smelt, journal, services).run())
        async with asyncio.timeout(30):
            while (smelt.id, "transcribing", None) not in journal.steps:  # noqa: ASYNC110 - The journal sets no event.
                await asyncio.sleep(0)
    await working
    assert ("decoding", None) in journal.of(smelt)
    assert ("synthesizing", None) not in journal.of(smelt)


async def test_risk_is_cleared_when_every_file_fails(journal: Journal) -> None:
    smelt = claim(file_row(filename=BAD))
    assert await pipeline_of(smelt, journal, Services()).run() == ()
    assert journal.of(smelt)[-3:] == [("decoding", "decode"), ("decode", None), ("decoding", None)]


async def test_model_begins_with_the_next_smelt_when_the_transcript_of_the_previous_one_is_saved(
    journal: Journal,
) -> None:
    first, second, services = claim(), claim(), Services()
    journal.held = first.id
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for smelt in (first, second):
            group.create_task(pipeline_of(smelt, journal, services).run())
        await journal.is_waiting.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert journal.of(second)[-1] == ("decoding", None), "it waits for the model, without a risk"
        journal.may_go_on.set()
    saved, begun = journal.steps.index((first.id, "transcript saved", None)), (second.id, "transcribing", "model")
    assert saved < journal.steps.index(begun)
