"""The database knows of each risk before the work on a file begins, and of its end before the next smelt begins."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from fakes import FakeChannel, FakeProject, FakeRpc, claim, file_row

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import Claim
from smelt.processor import stages
from smelt.processor.broadcasts import Announcer
from smelt.processor.errors import FileError
from smelt.processor.event_queue import EventQueue
from smelt.processor.metrics import Metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.reporter import Reporter
from smelt.processor.stages import Stages
from smelt.processor.state import FileWork
from smelt.processor.transcribe import Transcription

BAD = "bad.mp3"


class Journal(FakeRpc):
    """A database that notes each saved report, and each step that `noted` adds; `hold` delays some responses."""

    def __init__(self) -> None:
        super().__init__(lambda *_: {"verdict": "go_on", "event": None})
        self.steps: list[tuple[UUID, str, str | None]] = []
        self.held: tuple[UUID, str] | None = None
        self.is_waiting = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def call(self, function: str, /, **arguments: Any) -> Any:
        if self.held == (arguments["smelt_id"], arguments["status"]):
            self.is_waiting.set()
            await self.may_go_on.wait()
        response = await super().call(function, **arguments)
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

    async def validate(file: FileWork, state: Any, _services: Any, _folder: Path, at_risk: Any) -> None:
        async with at_risk():
            journal.steps.append((state.claim.id, "probe", None))

    async def decode(file: FileWork, state: Any, *_: Any) -> None:
        journal.steps.append((state.claim.id, "decode", None))
        fail_bad(file)

    async def transcribe(self: Transcription, file: FileWork) -> None:
        journal.steps.append((self._state.claim.id, "transcribe", None))
        file.transcribed = True

    async def synthesize(state: Any, _services: Any) -> tuple[()]:
        journal.steps.append((state.claim.id, "synthesize", None))
        return ()

    monkeypatch.setattr(stages, "validate", validate)
    monkeypatch.setattr(stages, "decode", decode)
    monkeypatch.setattr(stages, "synthesize", synthesize)
    monkeypatch.setattr(Transcription, "transcribe", transcribe)
    return journal


class Services(SimpleNamespace):
    """The services of a worker whose model is loaded."""

    def __init__(self) -> None:
        super().__init__(model_queue=ModelQueue(), metrics=Metrics(), synthesis_slots=asyncio.Semaphore(2))
        self.model = SimpleNamespace(acquire=self._acquire)

    @staticmethod
    def _acquire() -> AbstractAsyncContextManager[None]:
        return nullcontext()


def stages_of(smelt: Claim, journal: Journal, services: Any) -> Stages:
    project: Any = FakeProject(journal)
    channel: Any = FakeChannel()
    calls: Any = journal
    reporter = Reporter(
        smelt,
        WorkerRpc(calls),
        EventQueue(Announcer(project, "w"), channel),
        lease_s=30,
        on_verdict=lambda _: None,
        eta_s=lambda: None,
    )
    return Stages(reporter, services, Path())


async def test_risk_of_each_stage_is_saved_before_its_work_and_cleared_after_it(journal: Journal) -> None:
    smelt = claim(file_row(), file_row(position=1))
    await stages_of(smelt, journal, Services()).run()
    assert journal.of(smelt) == [
        ("validating", "decode"),
        ("probe", None),
        ("validating", "decode"),
        ("probe", None),
        ("decoding", "decode"),
        ("decode", None),
        ("decoding", "decode"),
        ("decode", None),
        ("decoding", None),
        ("transcribing", "model"),
        ("transcribe", None),
        ("transcribing", "model"),
        ("transcribe", None),
        ("synthesizing", None),
        ("synthesize", None),
    ]


async def test_risk_is_cleared_when_every_file_fails(journal: Journal) -> None:
    smelt = claim(file_row(filename=BAD))
    assert await stages_of(smelt, journal, Services()).run() == ()
    assert journal.of(smelt)[-3:] == [("decoding", "decode"), ("decode", None), ("decoding", None)]


async def test_model_begins_with_the_next_smelt_when_the_transcript_of_the_previous_one_is_saved(
    journal: Journal,
) -> None:
    first, second, services = claim(), claim(), Services()
    journal.held = (first.id, "synthesizing")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for smelt in (first, second):
            group.create_task(stages_of(smelt, journal, services).run())
        await journal.is_waiting.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert journal.of(second)[-1] == ("decoding", None), "it waits for the model, without a risk"
        journal.may_go_on.set()
    saved, begun = journal.steps.index((first.id, "synthesizing", None)), (second.id, "transcribing", "model")
    assert saved < journal.steps.index(begun)
