"""A file is transcribed from its saved checkpoint, with less memory if the model runs out of it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faster_whisper import WhisperModel

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.state import Trust
from smelt.contract.work import SavedSegment
from smelt.errors import SettingsError
from smelt.processor.errors import ChildKilled, FileError
from smelt.processor.media.recording import SAMPLE_RATE, DecodingReport, Recording
from smelt.processor.model_queue import ModelQueue
from smelt.processor.speech.model import load_model
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import ModelOptions, SpeechOptions
from smelt.processor.speed import SpeedEstimate
from smelt.processor.stages.stage import Job
from smelt.processor.stages.transcribe import Transcribe
from smelt.processor.state import FileWork, SmeltState
from tests.harness.patched_children import PatchedChildren
from tests.unit.processor.fakes import FakeRpc, claim, file_row


class TranscriptionHarness:
    """A transcription with the demo model, and a database that returns what the test has saved."""

    def __init__(self, recording: Recording, model: SharedModel, speed: SpeedEstimate, **row: Any) -> None:
        self.saved: list[dict[str, Any]] = []
        self.rpc = FakeRpc(lambda *_: self.saved)
        self.model = model
        self.speed = speed
        services = SimpleNamespace(
            model=model,
            calls=WorkerRpc(self.rpc),
            speed=speed,
            model_queue=ModelQueue(),  # type: ignore[arg-type]
        )
        self.state = SmeltState(claim(file_row(**row)), lambda _: None)
        self.state.enter("transcribing")
        self.file.recording = recording
        reporter = SimpleNamespace(state=self.state)
        self.stage = Transcribe(Job(reporter, services, Path()))  # type: ignore[arg-type]

    async def run(self) -> None:
        """Wait for the model, and transcribe the file."""
        async with self.stage.turn():
            await self.stage.run(self.file)

    @property
    def file(self) -> FileWork:
        return self.state.files[0]


class Harnesses:
    """Makes harnesses, and ends their models."""

    def __init__(self) -> None:
        self._models: list[SharedModel] = []

    def __call__(
        self,
        recording: Recording,
        options: SpeechOptions | None = None,
        model: ModelOptions | SharedModel | None = None,
        *,
        speed: SpeedEstimate | None = None,
        idle_s: float | None = None,
        **row: Any,
    ) -> TranscriptionHarness:
        speed = speed or SpeedEstimate()
        if not isinstance(model, SharedModel):
            model = SharedModel(model or ModelOptions(), options or SpeechOptions(), idle_s, speed=speed)
            self._models.append(model)
        return TranscriptionHarness(recording, model, speed, **row)

    async def aclose(self) -> None:
        for model in self._models:
            await model.aclose()


@pytest.fixture
async def harnesses() -> AsyncIterator[Harnesses]:
    """Make transcriptions, each with a model in a child."""
    made = Harnesses()
    yield made
    await made.aclose()


def undisturbed(model: WhisperModel, recording: Recording, options: SpeechOptions) -> list[SavedSegment]:
    passages = Transcriber(model, options).transcribe(recording, "en")
    return [segment for passage in passages for segment in passage.segments]


async def test_transcribe_completes_a_file_and_measures_the_speed(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses
) -> None:
    options = SpeechOptions(max_span_s=15)
    harness = harnesses(opening, options)
    await harness.run()
    assert harness.file.segments == undisturbed(demo_model, opening, options)
    assert harness.file.transcribed
    assert (harness.file.language, harness.file.share) == ("en", 1.0)
    assert harness.file.trust is not None
    assert harness.file.trust["silence_seconds"] < 5
    assert harness.file.trust["untranscribed_seconds"] == 0
    assert [found["language"] for found in harness.file.trust["languages"]] == ["en"]
    assert harness.speed.transcription_s(audio_s=60) is not None
    assert harness.stage.remaining_s() is not None
    assert harness.rpc.calls == []


async def test_resume_does_not_transcribe_saved_segments_again(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses
) -> None:
    options = SpeechOptions(max_span_s=15)
    whole = undisturbed(demo_model, opening, options)
    [*_, last] = [p for p in Transcriber(demo_model, options).transcribe(opening, "en") if p.checkpoint.span_start == 0]
    checkpoint = last.checkpoint
    harness = harnesses(opening, options, checkpoint=checkpoint.model_dump(mode="json"), language="en")
    harness.saved = [segment.model_dump() for segment in whole[: checkpoint.segment_count + 2]]
    await harness.run()
    assert harness.file.segments == whole
    # The window after the checkpoint is transcribed again, and its saved segments are kept.
    assert harness.state.draft().segment_rows()[0]["index"] == checkpoint.segment_count + 2


async def test_resume_keeps_saved_segments_that_are_split_differently(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses
) -> None:
    options = SpeechOptions(max_span_s=15)
    whole = undisturbed(demo_model, opening, options)
    merged = whole[0].model_copy(update={"end": whole[1].end, "text": "Text of another model."})
    harness = harnesses(opening, options, segment_count=1)
    harness.saved = [merged.model_dump()]
    await harness.run()
    assert harness.file.segments[0] == merged
    assert [s.text for s in harness.file.segments[1:]] == [s.text for s in whole[2:]]
    assert [s.index for s in harness.file.segments] == list(range(len(whole) - 1))
    assert [row["index"] for row in harness.state.draft().segment_rows()] == list(range(1, len(whole) - 1))
    assert harness.file.checkpoint is not None
    assert harness.file.checkpoint.segment_count <= len(harness.file.segments)


async def test_resume_starts_over_when_saved_segments_have_gaps(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses
) -> None:
    options = SpeechOptions(max_span_s=15)
    whole = undisturbed(demo_model, opening, options)
    [*_, last] = Transcriber(demo_model, options).transcribe(opening, "en")
    harness = harnesses(opening, options, checkpoint=last.checkpoint.model_dump(mode="json"), language="en")
    harness.saved = [segment.model_dump() for segment in whole[1:]]
    await harness.run()
    assert harness.file.segments == whole


FULL_DEVICE = """
from smelt.processor.speech.decoder import WindowDecoder
real = WindowDecoder.decode
def decode(self, encoded, *arguments, **more):
    size = len(encoded.windows)
    record(f"{{size}} {{self._model.model.compute_type}}")
    if {condition}:
        raise RuntimeError("CUDA failed with error out of memory")
    return real(self, encoded, *arguments, **more)
WindowDecoder.decode = decode
"""


async def test_out_of_memory_reduces_the_batch_size(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses, children: PatchedChildren
) -> None:
    children.run(FULL_DEVICE.format(condition="size > 1"))
    # It has four windows, of which the first is a batch of its own.
    harness = harnesses(opening, SpeechOptions(batch_size=4))
    await harness.run()
    assert [call.split()[0] for call in children.calls if not call.startswith("1 ")] == ["3", "2"]
    alone = undisturbed(demo_model, opening, SpeechOptions(batch_size=1))
    assert [segment.text for segment in harness.file.segments] == [segment.text for segment in alone]
    assert [segment.index for segment in harness.file.segments] == list(range(len(alone)))
    async with harness.model.acquire() as settled:
        assert settled.options.batch_size == 1
    assert harness.file.transcribed


async def test_model_error_in_every_batch_size_fails_the_file(
    opening: Recording, harnesses: Harnesses, children: PatchedChildren
) -> None:
    children.run(FULL_DEVICE.format(condition="True"))
    harness = harnesses(opening, SpeechOptions(batch_size=2))
    with pytest.raises(FileError, match="CUDA failed with error out of memory") as error:
        await harness.run()
    assert error.value.code == "transcription_failed"
    assert not harness.file.transcribed
    # With a batch of 2, of 1, without one, and in another child.
    assert len(children.calls) == 4
    children.heal()
    other = harnesses(opening, model=harness.model)
    await other.run()
    assert other.file.transcribed


async def test_model_that_keeps_failing_is_replaced_and_continues_from_the_checkpoint(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses, children: PatchedChildren
) -> None:
    children.run("""
from smelt.processor.speech.transcriber import Transcriber
real, is_first = Transcriber.transcribe, record("child") == 1
def transcribe(*arguments, **more):
    for number, passage in enumerate(real(*arguments, **more)):
        if is_first and number == 8:
            raise RuntimeError("CUDA failed with error an illegal memory access was encountered")
        yield passage
Transcriber.transcribe = transcribe
""")
    options = SpeechOptions(max_span_s=15)
    harness = harnesses(opening, options)
    await harness.run()
    assert harness.file.segments == undisturbed(demo_model, opening, options)
    assert children.calls == ["child"] * 2


async def test_out_of_memory_reloads_the_model_with_a_smaller_compute_type(
    opening: Recording, harnesses: Harnesses, children: PatchedChildren
) -> None:
    children.run(FULL_DEVICE.format(condition="self._model.model.compute_type == 'float32'"))
    harness = harnesses(opening, SpeechOptions(), ModelOptions(device="cpu", compute_type="float32"))
    await harness.run()
    assert [call.split()[1] for call in children.calls[:2]] == ["float32", "int8_float32"]
    assert harness.file.transcribed
    async with harness.model.acquire() as settled:
        assert settled.info.compute_type == "int8_float32"


FULL_ABOVE_INT8 = """
import ctranslate2
real = ctranslate2.models.Whisper
def whisper(*arguments, **more):
    record(more["compute_type"])
    if more["compute_type"] != {fitting!r}:
        raise RuntimeError("CUDA failed with error out of memory")
    return real(*arguments, **more)
ctranslate2.models.Whisper = whisper
"""


async def test_out_of_memory_while_loading_uses_a_smaller_compute_type(
    opening: Recording, harnesses: Harnesses, children: PatchedChildren, caplog: pytest.LogCaptureFixture
) -> None:
    children.run(FULL_ABOVE_INT8.format(fitting="int8"))
    harness = harnesses(opening, SpeechOptions(beam_size=1), ModelOptions(device="cpu", compute_type="float32"))
    await harness.run()
    assert harness.file.transcribed
    assert children.calls == ["float32", "int8"]
    assert "loading the model as float32 failed" in caplog.text


async def test_out_of_memory_with_every_compute_type_is_a_settings_error(children: PatchedChildren) -> None:
    children.run(FULL_ABOVE_INT8.format(fitting="none"))
    model = SharedModel(ModelOptions(device="cpu", compute_type="float32"), SpeechOptions())
    with pytest.raises(SettingsError, match=r"SMELT_MODEL=demo .*out of memory"):
        await model.run_until_load_fails()
    assert children.calls == ["float32", "int8"]
    await model.aclose()


async def test_idle_model_is_released_and_loaded_again(opening: Recording, harnesses: Harnesses) -> None:
    harness = harnesses(opening, SpeechOptions(), idle_s=0.01)
    await harness.run()
    before = harness.file.segments
    async with asyncio.timeout(30):
        while harness.model.pid is not None:  # noqa: ASYNC110 - The model's timer sets no event.
            await asyncio.sleep(0.005)
    async with harness.model.acquire():
        assert harness.model.pid is not None
        await asyncio.sleep(0.02)
        assert harness.model.pid is not None
    again = harnesses(opening, model=harness.model)
    await again.run()
    assert again.file.segments == before


async def test_trust_report_names_the_model_and_its_notice(
    opening: Recording, harnesses: Harnesses, caplog: pytest.LogCaptureFixture
) -> None:
    harness = harnesses(opening, SpeechOptions())
    await harness.run()
    trust = Trust.model_validate(harness.file.trust)
    assert trust.model == "demo"
    assert trust.notice is not None
    assert "words" in trust.notice
    assert trust.notice in caplog.text


async def test_segment_count_is_reported_when_the_transcript_is_complete(
    opening: Recording, harnesses: Harnesses
) -> None:
    harness = harnesses(opening, SpeechOptions())
    await harness.run()
    [row] = harness.state.draft().files
    assert row["segment_count"] == len(harness.file.segments) > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere", "SMELT_MODEL=/nowhere is neither a local folder"),
        ("nonsense", "Known sizes: tiny.en"),
        ("../a/b", "is neither a local folder"),
        (str(Path(__file__).parent), "has no model.bin"),
    ],
)
async def test_missing_model_raises_a_settings_error_of_one_sentence(name: str, message: str) -> None:
    model = SharedModel(ModelOptions(name=name), SpeechOptions())
    with pytest.raises(SettingsError, match=re.escape(message)) as error:
        await model.run_until_load_fails()
    assert str(error.value).startswith("SMELT_MODEL=")
    assert "\n" not in str(error.value)
    with pytest.raises(SettingsError):
        await model.start()


async def test_missing_network_raises_a_settings_error_with_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # An empty cache and an unreachable hub, as on a machine without a network.
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = SharedModel(ModelOptions(name="tiny"), SpeechOptions())
    with pytest.raises(SettingsError, match=r"SMELT_MODEL=tiny could not be downloaded .*: check the network, or set"):
        await model.run_until_load_fails()
    with pytest.raises(SettingsError):
        await model.start()


async def test_trust_includes_the_findings_of_decoding(opening: Recording, harnesses: Harnesses) -> None:
    report = DecodingReport(damaged=((1.0, 2.5),), clock_jumps=1, track=2, track_count=2)
    harness = harnesses(Recording(opening.path, 4 * SAMPLE_RATE, report), SpeechOptions())
    await harness.run()
    assert harness.file.trust is not None
    assert harness.file.trust.items() >= report.trust().items()
    assert "silence_seconds" in harness.file.trust


async def test_crash_of_the_model_is_retried_from_the_checkpoint_with_the_same_text(
    demo_model: WhisperModel, opening: Recording, harnesses: Harnesses, children: PatchedChildren
) -> None:
    options = SpeechOptions(max_span_s=15)
    children.crash("SIGSEGV", at=8, times=1)
    harness = harnesses(opening, options)
    await harness.run()
    assert harness.file.segments == undisturbed(demo_model, opening, options)
    assert len(children.calls) == 2
    assert [row["index"] for row in harness.state.draft().segment_rows()] == list(range(len(harness.file.segments)))


async def test_second_crash_of_the_model_is_the_fault_of_the_file(
    opening: Recording, harnesses: Harnesses, children: PatchedChildren
) -> None:
    children.crash("SIGSEGV", at=8, times=2)
    harness = harnesses(opening)
    with pytest.raises(FileError, match="SIGSEGV") as error:
        await harness.run()
    assert error.value.code == "transcription_failed"
    assert len(children.calls) == 2
    # The next file is transcribed, in a third child.
    other = harnesses(opening, model=harness.model)
    await other.run()
    assert other.file.transcribed


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("options", [SpeechOptions(max_span_s=15), SpeechOptions(batch_size=2)], ids=str)
async def test_resume_after_a_killed_model_gives_the_undisturbed_text(
    options: SpeechOptions,
    lanes: int,
    opening: Recording,
    harnesses: Harnesses,
    children: PatchedChildren,
) -> None:
    children.crash("SIGKILL", at=8, times=1)
    model = ModelOptions(cpu_threads=1, lanes=lanes)
    harness = harnesses(opening, options, model)
    with pytest.raises(ChildKilled):
        await harness.run()
    draft = harness.state.draft()
    assert draft.segments
    # The next attempt, in the same worker.
    row = {"checkpoint": harness.file.checkpoint_row, "language": "en", "segment_count": len(draft.segments)}
    again = harnesses(opening, model=harness.model, **row)
    again.saved = [segment.model_dump() for _, segment in draft.segments]
    await again.run()
    assert again.file.segments == undisturbed(load_model(model), opening, options)
