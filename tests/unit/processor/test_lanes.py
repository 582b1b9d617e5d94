"""Several recordings at a time in one model: the same texts, and a death that only its recording pays for."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest
from faster_whisper import WhisperModel

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import SavedSegment
from smelt.processor.children.process import Death
from smelt.processor.errors import ChildKilled, FileError, ModelError
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.model_queue import ModelQueue
from smelt.processor.speech.breaker import CircuitBreaker
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.loaded import StepGate
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import ModelOptions, Passage, SpeechOptions
from smelt.processor.speed import SpeedEstimate
from smelt.processor.stages.stage import Job
from smelt.processor.stages.transcribe import Transcribe
from smelt.processor.state import SmeltState
from tests.harness.patched_children import PatchedChildren
from tests.harness.processes import assert_ended, started_by_workers
from tests.harness.waiting import until
from tests.unit.processor.fakes import FakeRpc, claim, file_row

OPTIONS = SpeechOptions(max_span_s=15)
# Each window waits for one of another recording, unless a file exists.
TWO_WINDOWS_AT_A_TIME = """
import os, signal, threading
from smelt.processor.speech.decoder import WindowDecoder
both, real = threading.Barrier(2), WindowDecoder.decode
def decode(*arguments, **more):
    if not os.path.exists({marker!r}):
        both.wait(60)
        os.close(os.open({marker!r}, os.O_CREAT))
        record("two at a time")
        {then}
    return real(*arguments, **more)
WindowDecoder.decode = decode
"""
# From its second passage on, a recording kills the process, which at first computes a window of the other one as well.
DEADLY_RECORDING = """
import os, signal, threading
from smelt.processor.speech.transcriber import Transcriber
real, both = Transcriber.transcribe, threading.Barrier(2)
def transcribe(self, recording, *arguments, **more):
    is_deadly = recording.sample_count == {sample_count}
    for number, passage in enumerate(real(self, recording, *arguments, **more)):
        if number == 1 and not os.path.exists({marker!r}):
            both.wait(60)
            if not is_deadly:
                threading.Event().wait()
            os.close(os.open({marker!r}, os.O_CREAT))
        if number == 1 and is_deadly:
            record("death")
            signal.raise_signal(signal.{name})
        yield passage
Transcriber.transcribe = transcribe
"""


class Lanes:
    """A model with two lanes, and smelts that are transcribed with it."""

    def __init__(self) -> None:
        self.deaths: list[Death] = []
        self.suspensions: list[bool] = []
        self.model = SharedModel(
            ModelOptions(cpu_threads=1, lanes=2),
            OPTIONS,
            breaker=CircuitBreaker(0.01),
        )
        self.model.subscribe(
            on_death=self.deaths.append,
            on_suspended=lambda: self.suspensions.append(self.model.is_suspended),
        )
        self.queue = ModelQueue(lambda: self.model.lanes)

    async def load(self) -> psutil.Process:
        """Load the model, and return its process."""
        await self.model.wait_usable()
        assert self.model.pid is not None
        return psutil.Process(self.model.pid)

    async def transcribe_all(self, *recordings: Recording) -> list[list[SavedSegment] | BaseException]:
        """Load the model, then transcribe a smelt of each recording at a time; return texts and errors."""
        await self.load()
        return await asyncio.gather(*map(self.transcribe, recordings), return_exceptions=True)

    async def transcribe(self, recording: Recording) -> list[SavedSegment]:
        """Transcribe a smelt as a worker does."""
        services: Any = SimpleNamespace(
            model=self.model,
            calls=WorkerRpc(FakeRpc(lambda *_: [])),
            speed=SpeedEstimate(),
            model_queue=self.queue,
        )
        state = SmeltState(claim(file_row()), lambda _: None)
        state.enter("transcribing")
        [file] = state.files
        file.recording = recording
        reporter: Any = SimpleNamespace(state=state)
        stage = Transcribe(Job(reporter, services, Path()))
        async with stage.turn():
            await stage.run(file)
        return file.segments


@pytest.fixture
async def lanes() -> AsyncIterator[Lanes]:
    """Make a model in a child, which ends with the test."""
    made = Lanes()
    yield made
    await made.model.aclose()
    assert_ended(started_by_workers())


@pytest.fixture
def short(standup: Recording) -> Recording:
    """Return the first 12 seconds of speech."""
    return Recording(standup.path, 12 * SAMPLE_RATE)


def undisturbed(model: WhisperModel, recording: Recording) -> list[SavedSegment]:
    passages = Transcriber(model, OPTIONS).transcribe(recording, "en")
    return [segment for passage in passages for segment in passage.segments]


async def test_two_recordings_are_transcribed_at_a_time_with_the_text_of_one(
    two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    children.run(TWO_WINDOWS_AT_A_TIME.format(marker=str(children.folder / "done"), then=""))
    found = await lanes.transcribe_all(opening, short)
    assert found == [undisturbed(two_lanes, one) for one in (opening, short)]
    assert "two at a time" in children.calls


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
async def test_death_of_the_model_with_two_recordings_costs_neither_of_them(
    name: str, two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    then = f"signal.raise_signal({getattr(signal, name):d})"
    children.run(TWO_WINDOWS_AT_A_TIME.format(marker=str(children.folder / "done"), then=then))
    found = await lanes.transcribe_all(opening, short)
    assert found == [undisturbed(two_lanes, one) for one in (opening, short)]
    assert [death.returncode for death in lanes.deaths] == [-getattr(signal, name)]
    assert lanes.suspensions == []


@pytest.mark.parametrize(("name", "error", "death_count"), [("SIGSEGV", FileError, 3), ("SIGKILL", ChildKilled, 2)])
async def test_recording_that_kills_the_model_fails_without_the_other_one(
    name: str,
    error: type[Exception],
    death_count: int,
    two_lanes: WhisperModel,
    opening: Recording,
    short: Recording,
    lanes: Lanes,
    children: PatchedChildren,
) -> None:
    marker = str(children.folder / "both")
    children.run(DEADLY_RECORDING.format(sample_count=short.sample_count, marker=marker, name=name))
    good, bad = await lanes.transcribe_all(opening, short)
    assert good == undisturbed(two_lanes, opening)
    assert isinstance(bad, error)
    # The first one decides nothing; after a SIGKILL, the file is left to the next attempt.
    assert len(lanes.deaths) == len(children.calls) == death_count
    assert lanes.suspensions == []
    # Later recordings share the model again.
    assert await lanes.transcribe(opening) == good


async def test_model_error_with_two_recordings_costs_neither_of_them(
    two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    then = "raise RuntimeError('CUDA failed with error out of memory')"
    children.run(TWO_WINDOWS_AT_A_TIME.format(marker=str(children.folder / "done"), then=then))
    found = await lanes.transcribe_all(opening, short)
    assert found == [undisturbed(two_lanes, one) for one in (opening, short)]
    assert [death.killed_for for death in lanes.deaths] == ["error"]
    assert lanes.suspensions == []


async def test_recording_on_which_the_model_always_fails_fails_without_the_other_one(
    two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    children.run(f"""
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(self, recording, *arguments, **more):
    for number, passage in enumerate(real(self, recording, *arguments, **more)):
        if number == 1 and recording.sample_count == {short.sample_count}:
            raise RuntimeError("CUDA failed")
        yield passage
Transcriber.transcribe = transcribe
""")
    good, bad = await lanes.transcribe_all(opening, short)
    assert good == undisturbed(two_lanes, opening)
    assert isinstance(bad, FileError)
    assert lanes.suspensions == []
    assert await lanes.transcribe(opening) == good


async def test_recordings_whose_model_died_are_transcribed_alone_one_window_at_a_time(
    two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    death = TWO_WINDOWS_AT_A_TIME.format(marker=str(children.folder / "died"), then="signal.raise_signal(9)")
    children.run(f"""{death}
from smelt.processor.speech.windows import WindowTranscriber
lock, transcribe, running = threading.Lock(), WindowTranscriber.transcribe, []
def counted(*arguments):
    with lock:
        running.append(0)
        if os.path.exists({str(children.folder / "died")!r}):
            record(f"{{len(running)}} running")
    try:
        return transcribe(*arguments)
    finally:
        running.pop()
WindowTranscriber.transcribe = counted
""")
    found = await lanes.transcribe_all(opening, short)
    assert found == [undisturbed(two_lanes, one) for one in (opening, short)]
    assert len(lanes.deaths) == 1
    assert set(children.calls) == {"two at a time", "1 running"}


async def test_recording_continues_with_the_same_text_after_a_death_in_its_windows(
    two_lanes: WhisperModel, standup: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    # The first window is a step of its own.
    children.run("""
import signal, threading
from smelt.processor.speech.windows import WindowTranscriber
both, real = threading.Barrier(2), WindowTranscriber.transcribe
def transcribe(*arguments):
    if record("window") in (2, 3):
        both.wait(60)
        signal.raise_signal(signal.SIGSEGV)
    return real(*arguments)
WindowTranscriber.transcribe = transcribe
""")
    assert await lanes.transcribe(standup) == undisturbed(two_lanes, standup)
    assert [death.returncode for death in lanes.deaths] == [-signal.SIGSEGV]


async def test_model_error_in_one_of_several_windows_is_raised_and_the_child_goes_on(
    two_lanes: WhisperModel, standup: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    children.run("""
from smelt.processor.speech.windows import WindowTranscriber
real = WindowTranscriber.transcribe
def transcribe(*arguments):
    if record("window") == 3:
        raise RuntimeError("out of memory")
    return real(*arguments)
WindowTranscriber.transcribe = transcribe
""")
    process = await lanes.load()
    async with lanes.model.acquire() as model:
        with pytest.raises(ModelError, match="out of memory"):
            _ = [item async for item in model.transcribe(standup, START, max_step_s=lambda *_: 60.0)]
    assert await lanes.transcribe(standup) == undisturbed(two_lanes, standup)
    assert lanes.model.pid == process.pid
    assert lanes.deaths == []


async def test_cancelled_recording_does_not_end_the_model_of_another_one(
    two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    """Its window takes longer than loading the model again."""
    go_on = children.folder / "go on"
    children.run(f"""
import os, time
from smelt.processor.speech.decoder import WindowDecoder
real = WindowDecoder.decode
def decode(*arguments, **more):
    record("window")
    while not os.path.exists({str(go_on)!r}):
        time.sleep(0.01)
    return real(*arguments, **more)
WindowDecoder.decode = decode
""")
    process = await lanes.load()
    async with lanes.model.acquire() as model:
        load_s = model.load_s
    good, cancelled = [asyncio.create_task(lanes.transcribe(one)) for one in (opening, short)]
    await until(lambda: len(children.calls) == 2)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lanes.model.wait_usable(), load_s + 2)
    go_on.touch()
    assert await good == undisturbed(two_lanes, opening)
    assert process.is_running()
    await until(lambda: lanes.model.is_ready)


async def test_recording_closed_between_passages_frees_its_lane(
    short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    process = await lanes.load()
    for _ in range(3):
        async with aclosing(lanes.model.transcribe(uuid4(), short, START)) as items:
            async for item in items:
                if isinstance(item, Passage):
                    break
        await until(lambda: str(short.path) not in {file.path for file in process.open_files()})
    assert lanes.model.is_ready


async def test_model_that_is_loaded_again_continues_the_other_recording(
    two_lanes: WhisperModel, opening: Recording, short: Recording, lanes: Lanes, children: PatchedChildren
) -> None:
    """One recording runs out of memory."""
    children.run(f"""
from smelt.processor.speech.transcriber import Transcriber
import smelt.processor.speech.model as module
real = Transcriber.transcribe
def transcribe(self, recording, *arguments, **more):
    for number, passage in enumerate(real(self, recording, *arguments, **more)):
        if number == 1 and recording.sample_count == {short.sample_count} and record("error") == 1:
            raise RuntimeError("CUDA failed with error out of memory")
        yield passage
Transcriber.transcribe = transcribe
module.smaller_compute_type = lambda model: "int8"
""")
    process = await lanes.load()
    found = await lanes.transcribe_all(opening, short)
    assert found == [undisturbed(two_lanes, one) for one in (opening, short)]
    assert lanes.model.pid != process.pid
    assert (lanes.deaths, lanes.suspensions) == ([], [])


async def test_idle_model_that_dies_is_loaded_again_with_its_lanes(short: Recording, lanes: Lanes) -> None:
    os.kill((await lanes.load()).pid, signal.SIGKILL)
    await until(lambda: lanes.model.pid is None)
    assert await lanes.transcribe(short)
    assert lanes.model.lanes == 2


async def test_step_that_has_to_be_alone_waits_and_holds_up_later_ones() -> None:
    gate, order, ends = StepGate(), [], {name: asyncio.Event() for name in "abcd"}

    async def step(name: str, *, alone: bool = False) -> None:
        async with gate.step(alone=alone):
            order.append(name)
            await ends[name].wait()

    tasks = []
    for name, alone in (("a", False), ("b", False), ("c", True), ("d", False)):
        tasks.append(asyncio.create_task(step(name, alone=alone)))
        await asyncio.sleep(0)
    assert order == ["a", "b"]
    for ended, begun in (("a", "ab"), ("b", "abc"), ("c", "abcd")):
        ends[ended].set()
        await asyncio.wait({tasks["abcd".index(ended)]})
        await asyncio.sleep(0)
        assert "".join(order) == begun
    ends["d"].set()
    await asyncio.wait(tasks)


async def test_cancelled_step_leaves_the_gate_open() -> None:
    gate = StepGate()
    async with gate.step(alone=False):
        waiting = asyncio.create_task(gate.step(alone=True).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        async with gate.step(alone=False):
            pass
    async with asyncio.timeout(10), gate.step(alone=True):
        pass
