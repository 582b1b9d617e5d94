"""The model in a child: the same transcripts, and deaths, hangs and cancellations that stay local."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest
from faster_whisper import WhisperModel

from smelt.errors import SettingsError
from smelt.processor.children.process import ChildDied, Death
from smelt.processor.errors import ChildKilled, ChildUnusable, ModelError, ModelSuspended
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.breaker import CircuitBreaker
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.languages import Language
from smelt.processor.speech.shared import SharedModel, check_model, check_recording
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import ModelOptions, Passage, SpeechOptions
from smelt.processor.speed import SpeedEstimate
from tests.harness.leaks import assert_no_leaks
from tests.harness.patched_children import PatchedChildren
from tests.harness.processes import assert_end_with_worker, assert_ended, started, started_by_workers
from tests.harness.waiting import until

MODES = {
    "sequential": SpeechOptions(),
    "short spans": SpeechOptions(beam_size=1, max_span_s=20),
    "without voice detection": SpeechOptions(vad=False),
    "word times": SpeechOptions(word_times=True),
    "batched": SpeechOptions(batch_size=4),
    "batched with word times": SpeechOptions(batch_size=4, word_times=True),
    "batched without voice detection": SpeechOptions(batch_size=2, vad=False),
}
NEVER_ENDING_WINDOW = """
import time
from smelt.processor.speech.decoder import WindowDecoder
def decode(*arguments, **more):
    record("window")
    time.sleep(1000)
WindowDecoder.decode = decode
"""


class FixedSpeed(SpeedEstimate):
    """A speed at which the model hangs after half a second."""

    def max_step_s(self, *, span_s: float, window_s: float) -> float:
        return 0.5


class Models:
    """Makes models with short delays, and ends them."""

    def __init__(self) -> None:
        self._made: list[SharedModel] = []
        self.deaths: list[Death] = []
        self.suspensions: list[bool] = []

    def __call__(
        self,
        options: SpeechOptions | None = None,
        *,
        idle_s: float | None = None,
        speed: SpeedEstimate | None = None,
        probe_delay_s: float = 0.01,
    ) -> SharedModel:
        model = SharedModel(
            ModelOptions(),
            options or SpeechOptions(max_span_s=15),
            idle_s,
            speed=speed,
            breaker=CircuitBreaker(probe_delay_s),
        )
        model.subscribe(on_death=self.deaths.append, on_suspended=lambda: self.suspensions.append(model.is_suspended))
        self._made.append(model)
        return model

    async def aclose(self) -> None:
        for model in self._made:
            await model.aclose()


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    """Make models in children, which end with the test."""
    made = Models()
    yield made
    await made.aclose()
    assert_ended(started_by_workers())


@pytest.fixture
def short(standup: Recording) -> Recording:
    """Return the first 12 seconds of speech."""
    return Recording(standup.path, 12 * SAMPLE_RATE)


async def items_of(model: SharedModel, recording: Recording, smelt_id: UUID | None = None) -> list[Language | Passage]:
    return [item async for item in model.transcribe(smelt_id or uuid4(), recording, START)]


async def loaded_pid(model: SharedModel) -> int:
    async with model.acquire():
        assert model.pid is not None
        return model.pid


@pytest.mark.parametrize("mode", MODES)
async def test_transcript_of_the_child_equals_that_of_this_process(
    mode: str, demo_model: WhisperModel, opening: Recording, models: Models
) -> None:
    transcriber = Transcriber(demo_model, MODES[mode])
    here = [transcriber.detect_language(opening), *transcriber.transcribe(opening, "en")]
    assert await items_of(models(MODES[mode]), opening) == here


async def test_passages_are_computed_only_on_request(
    opening: Recording, models: Models, children: PatchedChildren
) -> None:
    children.run("""
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    for passage in real(*arguments, **more):
        record("passage")
        yield passage
Transcriber.transcribe = transcribe
""")
    async with aclosing(models().transcribe(uuid4(), opening, START)) as items:
        assert isinstance(await anext(items), Language)
        for count in (1, 2, 3):
            await anext(items)
            assert len(children.calls) == count


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_child_gets_the_environment_of_its_libraries_and_no_key(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = {"HF_HOME": "/x", "CUDA_VISIBLE_DEVICES": "7", "OMP_NUM_THREADS": "3", "https_proxy": "http://127.0.0.1:9"}
    for name, value in {**passed, "SUPABASE_SERVICE_ROLE_KEY": "secret", "SMELT_LLM_API_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    pid = await loaded_pid(models())
    environment = psutil.Process(pid).environ()
    assert environment.items() >= passed.items()
    assert "secret" not in environment.values()


async def test_warning_of_a_library_is_logged_once(
    models: Models, children: PatchedChildren, caplog: pytest.LogCaptureFixture
) -> None:
    children.run("""
import smelt.processor.speech.model as module
real = module.load_model
def load_model(options):
    from huggingface_hub.utils import logging
    logging.get_logger("huggingface_hub.x").warning("trying again")
    return real(options)
module.load_model = load_model
""")
    await loaded_pid(models())
    await until(lambda: "trying again" in caplog.text)
    assert caplog.text.count("trying again") == 1


@pytest.mark.parametrize(("name", "error"), [("SIGSEGV", ChildDied), ("SIGABRT", ChildDied), ("SIGKILL", ChildKilled)])
async def test_death_in_a_transcription_is_raised_and_the_next_one_works(
    name: str, error: type[Exception], opening: Recording, models: Models, children: PatchedChildren
) -> None:
    children.crash(name, at=3, times=1)
    model, smelt_id = models(), uuid4()
    with pytest.raises(error, match=f"died of {name} while working"):
        await items_of(model, opening, smelt_id)
    assert model.pid is None
    assert len(await items_of(model, opening, smelt_id)) > 10
    assert [death.returncode for death in models.deaths] == [-getattr(signal, name)]
    assert models.suspensions == []


async def test_deaths_on_two_smelts_suspend_the_model_until_a_test_succeeds(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.crash("SIGSEGV", at=1, times=3)
    model = models()
    with pytest.raises(ChildDied):
        await items_of(model, short)
    with pytest.raises(ModelSuspended, match="SIGSEGV"):
        await items_of(model, short)
    assert models.suspensions == [True]
    with pytest.raises(ModelSuspended):
        await items_of(model, short)
    with pytest.raises(ModelSuspended):
        await model.wait_usable(while_suspended=False)
    # The first test dies as well.
    await model.wait_usable()
    assert models.suspensions == [True, False]
    assert len(children.calls) == 4
    assert len(await items_of(model, short)) > 3


async def test_success_between_two_deaths_does_not_suspend_the_model(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.run("""
import os, signal
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    if record("transcription") % 2:
        signal.raise_signal(signal.SIGSEGV)
    return real(*arguments, **more)
Transcriber.transcribe = transcribe
""")
    model = models()
    for _ in range(2):
        with pytest.raises(ChildDied):
            await items_of(model, short)
        await items_of(model, short)
    assert len(models.deaths) == 2
    assert models.suspensions == []


async def test_death_while_loading_suspends_the_model(models: Models, children: PatchedChildren) -> None:
    children.run("""
import os, signal
import smelt.processor.speech.model as module
real = module.load_model
def load_model(options):
    if record("load") <= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(options)
module.load_model = load_model
""")
    model = models()
    async with asyncio.timeout(100):
        await model.wait_usable()
    assert models.suspensions == [True, False]
    assert children.calls == ["load"] * 3
    assert [death.stage for death in models.deaths] == ["idle"]


async def test_model_that_cannot_be_started_is_suspended_until_a_test_succeeds(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere")
        with pytest.raises(ModelSuspended, match="/nowhere"):
            await model.start()
        assert models.suspensions == [True]
    async with asyncio.timeout(100):
        await model.wait_usable()
    assert models.suspensions == [True, False]
    assert [death.stage for death in models.deaths] == ["starting"]


@pytest.mark.parametrize("missing", ["program", "recording"])
async def test_missing_file_in_a_test_of_the_model_fails_it(
    missing: str,
    short: Recording,
    models: Models,
    children: PatchedChildren,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    children.crash("SIGSEGV", at=1, times=2)
    model = models()
    with pytest.raises(ChildDied):
        await items_of(model, short)
    with pytest.raises(ModelSuspended):
        await items_of(model, short)
    with monkeypatch.context() as patched:
        if missing == "program":
            patched.setattr(sys, "executable", "/nowhere")
        else:
            nowhere = Recording(Path("/nowhere"), short.sample_count)
            patched.setattr("smelt.processor.speech.shared.check_recording", lambda: nowhere)
        await until(lambda: "the test of the model failed" in caplog.text)
    async with asyncio.timeout(100):
        await model.wait_usable()
    assert models.suspensions == [True, False]


async def test_failed_load_while_testing_ends_the_worker(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.crash("SIGSEGV", at=1, times=1000)
    model = models(probe_delay_s=0.2)
    failing = asyncio.create_task(model.run_until_load_fails())
    with pytest.raises(ChildDied):
        await items_of(model, short)
    with pytest.raises(ModelSuspended):
        await items_of(model, short)
    children.run("""
import smelt.processor.speech.model as module
from smelt.errors import SettingsError
def load_model(options):
    raise SettingsError("SMELT_MODEL is gone")
module.load_model = load_model
""")
    async with asyncio.timeout(100):
        with pytest.raises(SettingsError, match="SMELT_MODEL is gone"):
            await failing


async def test_model_error_in_a_test_fails_it(short: Recording, models: Models, children: PatchedChildren) -> None:
    children.run("""
import os, signal
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    count = record("transcription")
    if count <= 2:
        signal.raise_signal(signal.SIGSEGV)
    if count == 3:
        raise RuntimeError("CUDA failed")
    return real(*arguments, **more)
Transcriber.transcribe = transcribe
""")
    model = models()
    with pytest.raises(ChildDied):
        await items_of(model, short)
    with pytest.raises(ModelSuspended):
        await items_of(model, short)
    async with asyncio.timeout(100):
        await model.wait_usable()
    assert len(children.calls) == 4


async def test_death_of_an_idle_model_only_reloads_it(short: Recording, models: Models) -> None:
    model = models()
    pid = await loaded_pid(model)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: model.pid is None)
    assert len(await items_of(model, short)) > 3
    assert model.pid != pid
    assert (models.deaths, models.suspensions) == ([], [])


async def test_model_that_hangs_is_killed(short: Recording, models: Models, children: PatchedChildren) -> None:
    children.run(NEVER_ENDING_WINDOW)
    model = models(speed=FixedSpeed())
    with pytest.raises(ChildDied) as error:
        await items_of(model, short)
    assert error.value.death.killed_for == "timeout"
    assert error.value.death.fault == "work"


@pytest.mark.parametrize(
    "message",
    [{"type": "passage", "passage": {"segments": 1}}, {"type": "other"}, {"type": "language", "language": None}],
)
async def test_invalid_message_kills_the_child(
    message: dict[str, object], short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.run(f"""
import smelt.processor.children.inside as inside
real = inside.Parent.send
def send(self, message):
    real(self, {message!r} if message["type"] == "language" else message)
inside.Parent.send = send
""")
    with pytest.raises(ChildDied) as error:
        await items_of(models(), short)
    assert error.value.death.killed_for == "protocol"


async def test_model_error_is_raised_and_the_child_goes_on(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.run("""
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    if record("transcription") == 1:
        raise RuntimeError("CUDA failed\\x1b")
    return real(*arguments, **more)
Transcriber.transcribe = transcribe
""")
    model = models(SpeechOptions(batch_size=2))
    pid = await loaded_pid(model)
    with pytest.raises(ModelError, match=r"CUDA failed\\x1b"):
        await items_of(model, short)
    assert len(await items_of(model, short)) > 3
    assert model.pid == pid


async def test_model_errors_on_two_smelts_suspend_the_model_until_a_test_succeeds(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.run("""
from smelt.processor.speech.transcriber import Transcriber
def transcribe(*arguments, **more):
    record("transcription")
    raise RuntimeError("CUDA failed")
Transcriber.transcribe = transcribe
""")
    model, smelt_id = models(), uuid4()
    for count in (1, 2):
        with pytest.raises(ChildDied, match="CUDA failed") as error:
            await items_of(model, short, smelt_id)
        assert error.value.death.fault == "work"
        assert model.pid is None
        assert models.deaths == [error.value.death] * count
    assert models.suspensions == []
    with pytest.raises(ModelSuspended, match="CUDA failed"):
        await items_of(model, short)
    children.heal()
    await model.wait_usable()
    assert models.suspensions == [True, False]
    assert len(await items_of(model, short)) > 3


async def cancelled(model: SharedModel, recording: Recording, is_working: Callable[[], object]) -> None:
    """Cancel a transcription in the middle of a window; the task ends while its child still works."""
    task = asyncio.create_task(items_of(model, recording))
    await until(is_working)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_transcription_leaves_the_child_to_complete_its_window(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
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
    model = models()
    pid = await loaded_pid(model)
    await cancelled(model, short, lambda: children.calls)
    assert psutil.pid_exists(pid)
    go_on.touch()
    assert len(await items_of(model, short)) > 3
    assert model.pid == pid


async def test_cancelled_transcription_that_does_not_end_is_killed(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    children.run(NEVER_ENDING_WINDOW)
    model = models()
    hanging = psutil.Process(await loaded_pid(model))
    await cancelled(model, short, lambda: children.calls)
    children.heal()
    assert len(await items_of(model, short)) > 3
    assert_ended([hanging])
    assert (models.deaths, models.suspensions) == ([], [])


async def test_transcription_closed_between_passages_frees_the_child(short: Recording, models: Models) -> None:
    model = models()
    pid = await loaded_pid(model)
    async with aclosing(model.transcribe(uuid4(), short, START)) as items:
        await anext(items)
    [language, *passages] = await items_of(model, short)
    assert isinstance(language, Language)
    assert len(passages) > 3
    assert model.pid == pid
    await until(lambda: str(short.path) not in {file.path for file in psutil.Process(pid).open_files()})


async def test_idle_model_is_released_with_its_process(models: Models) -> None:
    model = models(idle_s=0.01)
    process = psutil.Process(await loaded_pid(model))
    await until(lambda: not process.is_running())
    assert model.pid is None
    assert model.pid is None


async def test_model_in_use_after_a_test_is_not_released(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    go_on, idle_s = children.folder / "go on", 1.0
    children.run(f"""
import os, signal, time
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    if record("transcription") <= 2:
        signal.raise_signal(signal.SIGSEGV)
    while not os.path.exists({str(go_on)!r}):
        time.sleep(0.01)
    return real(*arguments, **more)
Transcriber.transcribe = transcribe
""")
    model = models(idle_s=idle_s)
    with pytest.raises(ChildDied):
        await items_of(model, short)
    with pytest.raises(ModelSuspended):
        await items_of(model, short)
    await until(lambda: len(children.calls) == 3)
    with pytest.raises(ModelSuspended):
        await items_of(model, short)
    # After the time at which a user without a model would release it.
    is_later = asyncio.Event()
    asyncio.get_running_loop().call_later(idle_s, is_later.set)
    go_on.touch()
    await model.wait_usable()
    async with model.acquire():
        pid = model.pid
        assert pid is not None
        await is_later.wait()
        assert model.pid == pid


async def test_close_ends_a_child_that_loads_or_transcribes(
    short: Recording, models: Models, children: PatchedChildren
) -> None:
    async with assert_no_leaks():
        loading = models()
        loading.start()
        await until(lambda: started_by_workers())
        await loading.aclose()
        children.run(NEVER_ENDING_WINDOW)
        working = models()
        task = asyncio.create_task(items_of(working, short))
        await until(lambda: children.calls)
        await working.aclose()
        with pytest.raises(ChildUnusable):
            await task
        assert models.deaths == []
    assert_ended(started_by_workers())


async def test_child_ends_with_a_killed_worker(tmp_path: Path, children: PatchedChildren, short: Recording) -> None:
    """It transcribes at that time, in native code that does not read messages."""
    program = f"""
import asyncio
from pathlib import Path
from uuid import uuid4
from smelt.processor.media.recording import Recording
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.values import ModelOptions, SpeechOptions
async def main():
    model = SharedModel(ModelOptions(), SpeechOptions())
    async with model.acquire():
        print(model.pid, flush=True)
        async for _ in model.transcribe(uuid4(), Recording(Path({str(short.path)!r}), {short.sample_count}), START):
            pass
asyncio.run(main())
"""
    children.run(NEVER_ENDING_WINDOW)
    with started([sys.executable, "-c", program], stdout=-1) as worker:
        assert worker.stdout is not None
        model = psutil.Process(int(await asyncio.to_thread(worker.stdout.readline)))
        await until(lambda: children.calls)
        worker.kill()
        worker.wait()
        assert_end_with_worker([model])


async def test_check_recording_has_two_seconds_of_known_speech(demo_model: WhisperModel) -> None:
    recording = check_recording()
    passages = Transcriber(demo_model, SpeechOptions()).transcribe(recording, "en")
    assert recording.duration_s == 2
    assert [segment.text for passage in passages for segment in passage.segments] == ["Good morning Anna."]


async def test_check_of_a_model_loads_it_and_transcribes() -> None:
    info, load_s = await check_model(ModelOptions(device="cpu"), SpeechOptions())
    assert (info.compute_type, info.device) == ("int8_float32", "cpu")
    assert load_s > 0
    assert_ended(started_by_workers())


async def test_check_of_a_model_that_dies_is_an_error(children: PatchedChildren) -> None:
    children.crash("SIGILL", at=1, times=1000)
    with pytest.raises(ChildUnusable, match="SIGILL"):
        await check_model(ModelOptions(), SpeechOptions())
    assert_ended(started_by_workers())
