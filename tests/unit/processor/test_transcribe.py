"""A file is heard to its end from what was saved, with a model that may have to step down on the way."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import pytest
from fakes import FakeRpc, claim, file_row
from faster_whisper import WhisperModel

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.state import Trust
from smelt.contract.work import SavedSegment
from smelt.errors import SettingsError
from smelt.processor.errors import FileError
from smelt.processor.media.recording import Recording
from smelt.processor.services import Threads
from smelt.processor.speech import sequential
from smelt.processor.speech.batch import BatchedModel
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.raw_segment import RawSegment
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
from smelt.processor.speed import SpeedEstimate
from smelt.processor.state import FileWork, SmeltState
from smelt.processor.transcribe import Transcription


class TranscriptionHarness:
    """A listener with the demo model, and a database that has what the test says."""

    def __init__(
        self,
        recording: Recording,
        options: SpeechOptions,
        model: ModelOptions | None = None,
        *,
        idle_s: float | None = None,
        **row: Any,
    ) -> None:
        self.saved: list[dict[str, Any]] = []
        self.rpc = FakeRpc(lambda *_: self.saved)
        self.model = SharedModel(model or ModelOptions(), options, idle_s)
        self.pace = SpeedEstimate()
        self.threads = Threads()
        self.tools = SimpleNamespace(
            model=self.model,
            calls=WorkerRpc(self.rpc),
            threads=self.threads,
            pace=self.pace,  # type: ignore[arg-type]
        )
        self.state = SmeltState(claim(file_row(**row)), lambda _: None)
        self.state.enter("transcribing")
        self.file.recording = recording
        self.listener = Transcription(self.state, self.tools)  # type: ignore[arg-type]

    @property
    def file(self) -> FileWork:
        return self.state.files[0]


def undisturbed(model: WhisperModel, recording: Recording, options: SpeechOptions) -> list[SavedSegment]:
    passages = Transcriber(model, options).listen(recording, "en")
    return [segment for passage in passages for segment in passage.segments]


async def test_transcribe_completes_a_file_and_measures_the_speed(demo_model: WhisperModel, opening: Recording) -> None:
    options = SpeechOptions(max_span_s=15)
    bench = TranscriptionHarness(opening, options)
    await bench.listener.transcribe(bench.file)
    assert bench.file.segments == undisturbed(demo_model, opening, options)
    assert bench.file.transcribed
    assert (bench.file.language, bench.file.share) == ("en", 1.0)
    assert bench.file.trust is not None
    assert bench.file.trust["silence_seconds"] < 5
    assert bench.pace.hearing_s(audio_s=60) is not None
    assert bench.listener.left_s(bench.file) is not None
    assert bench.rpc.calls == []


async def test_resume_does_not_transcribe_saved_segments_again(demo_model: WhisperModel, opening: Recording) -> None:
    options = SpeechOptions(max_span_s=15)
    whole = undisturbed(demo_model, opening, options)
    [*_, last] = [p for p in Transcriber(demo_model, options).listen(opening, "en") if p.checkpoint.span_start == 0]
    checkpoint = last.checkpoint
    bench = TranscriptionHarness(opening, options, checkpoint=checkpoint.model_dump(mode="json"), language="en")
    bench.saved = [segment.model_dump() for segment in whole[: checkpoint.segment_count + 2]]
    await bench.listener.transcribe(bench.file)
    assert bench.file.segments == whole
    # The window after the checkpoint is heard again, and what was saved of it stays.
    assert bench.state.draft().segment_rows()[0]["index"] == checkpoint.segment_count + 2


async def test_resume_keeps_saved_segments_that_are_split_differently(
    demo_model: WhisperModel, opening: Recording
) -> None:
    options = SpeechOptions(max_span_s=15)
    whole = undisturbed(demo_model, opening, options)
    merged = whole[0].model_copy(update={"end": whole[1].end, "text": "Heard by another model."})
    bench = TranscriptionHarness(opening, options, segment_count=1)
    bench.saved = [merged.model_dump()]
    await bench.listener.transcribe(bench.file)
    assert bench.file.segments[0] == merged
    assert [s.text for s in bench.file.segments[1:]] == [s.text for s in whole[2:]]
    assert [s.index for s in bench.file.segments] == list(range(len(whole) - 1))
    assert [row["index"] for row in bench.state.draft().segment_rows()] == list(range(1, len(whole) - 1))
    assert bench.file.checkpoint is not None
    assert bench.file.checkpoint.segment_count <= len(bench.file.segments)


async def test_resume_starts_over_when_saved_segments_have_gaps(demo_model: WhisperModel, opening: Recording) -> None:
    options = SpeechOptions(max_span_s=15)
    whole = undisturbed(demo_model, opening, options)
    [*_, last] = Transcriber(demo_model, options).listen(opening, "en")
    bench = TranscriptionHarness(opening, options, checkpoint=last.checkpoint.model_dump(mode="json"), language="en")
    bench.saved = [segment.model_dump() for segment in whole[1:]]
    await bench.listener.transcribe(bench.file)
    assert bench.file.segments == whole


async def test_out_of_memory_reduces_the_batch_size(
    demo_model: WhisperModel, opening: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = BatchedModel.listen, []

    def listen(self: BatchedModel, *arguments: Any, **more: Any) -> Iterator[RawSegment]:
        sizes.append(self.batch_size)
        for number, heard in enumerate(real(self, *arguments, **more)):
            if self.batch_size > 1 and number == 3:
                raise RuntimeError("CUDA failed with error out of memory")
            yield heard

    monkeypatch.setattr(BatchedModel, "listen", listen)
    bench = TranscriptionHarness(opening, SpeechOptions(batch_size=4))
    await bench.listener.transcribe(bench.file)
    assert sizes == [4, 2, 1]
    alone = undisturbed(demo_model, opening, SpeechOptions(batch_size=1))
    assert [segment.text for segment in bench.file.segments] == [segment.text for segment in alone]
    assert [segment.index for segment in bench.file.segments] == list(range(len(alone)))
    async with bench.model.borrowed() as settled:
        assert settled.options.batch_size == 1
    assert bench.file.transcribed


async def test_model_error_in_every_batch_size_fails_the_file(
    opening: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(*_: Any, **__: Any) -> Iterator[RawSegment]:
        raise RuntimeError("broken")

    monkeypatch.setattr(BatchedModel, "listen", listen)
    monkeypatch.setattr("smelt.processor.speech.sequential.listen", listen)
    bench = TranscriptionHarness(opening, SpeechOptions(batch_size=2))
    with pytest.raises(FileError) as fault:
        await bench.listener.transcribe(bench.file)
    assert fault.value.code == "transcription_failed"
    assert not bench.file.transcribed


async def test_out_of_memory_reloads_the_model_with_a_smaller_compute_type(
    opening: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, types = sequential.listen, []

    def listen(model: WhisperModel, *arguments: Any, **more: Any) -> Iterator[RawSegment]:
        types.append(model.model.compute_type)
        if model.model.compute_type == "float32":
            raise RuntimeError("CUDA failed with error out of memory")
        return real(model, *arguments, **more)

    monkeypatch.setattr(sequential, "listen", listen)
    bench = TranscriptionHarness(opening, SpeechOptions(), ModelOptions(device="cpu", compute_type="float32"))
    await bench.listener.transcribe(bench.file)
    assert types == ["float32", "int8_float32"]
    assert bench.file.transcribed
    async with bench.model.borrowed() as settled:
        assert settled.model.model.compute_type == "int8_float32"


def full_above(compute_type: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A device with memory for no more than this type; answers what was tried on it."""
    real, tried = ctranslate2.models.Whisper, list[str]()

    def whisper(*arguments: Any, **more: Any) -> ctranslate2.models.Whisper:
        tried.append(more["compute_type"])
        if more["compute_type"] != compute_type:
            raise RuntimeError("CUDA failed with error out of memory")
        return real(*arguments, **more)

    monkeypatch.setattr(ctranslate2.models, "Whisper", whisper)
    return tried


async def test_out_of_memory_while_loading_uses_a_smaller_compute_type(
    opening: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = full_above("int8", monkeypatch)
    bench = TranscriptionHarness(
        opening, SpeechOptions(beam_size=1), ModelOptions(device="cpu", compute_type="float32")
    )
    await bench.listener.transcribe(bench.file)
    assert bench.file.transcribed
    assert tried == ["float32", "int8"]


def test_out_of_memory_with_every_compute_type_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = full_above("none", monkeypatch)
    with pytest.raises(SettingsError, match=r"SMELT_MODEL=demo .*out of memory"):
        load_model(ModelOptions(device="cpu", compute_type="float32"))
    assert tried == ["float32", "int8"]


async def test_idle_model_is_released_and_loaded_again(opening: Recording) -> None:
    bench = TranscriptionHarness(opening, SpeechOptions(), idle_s=0.01)
    await bench.listener.transcribe(bench.file)
    before = bench.file.segments
    async with asyncio.timeout(30):
        while bench.model.is_loaded:  # noqa: ASYNC110 - A timer of the model's own tells nobody.
            await asyncio.sleep(0.005)
    async with bench.model.borrowed():
        assert bench.model.is_loaded
        await asyncio.sleep(0.02)
        assert bench.model.is_loaded
    again = TranscriptionHarness(opening, SpeechOptions())
    again.tools.model = bench.model
    await again.listener.transcribe(again.file)
    assert again.file.segments == before


async def test_trust_report_names_the_model_and_its_notice(
    opening: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    bench = TranscriptionHarness(opening, SpeechOptions())
    await bench.listener.transcribe(bench.file)
    trust = Trust.model_validate(bench.file.trust)
    assert trust.model == "demo"
    assert trust.notice is not None
    assert "words" in trust.notice
    assert trust.notice in caplog.text


async def test_segment_count_is_reported_when_the_transcript_is_complete(opening: Recording) -> None:
    bench = TranscriptionHarness(opening, SpeechOptions())
    await bench.listener.transcribe(bench.file)
    [row] = bench.state.draft().files
    assert row["segment_count"] == len(bench.file.segments) > 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/nowhere", "SMELT_MODEL=/nowhere is no folder here"),
        ("nonsense", "sizes are tiny.en"),
        ("../a/b", "is no folder here"),
        (str(Path(__file__).parent), "has no model.bin"),
    ],
)
async def test_missing_model_raises_a_settings_error_of_one_sentence(name: str, says: str) -> None:
    model = SharedModel(ModelOptions(name=name), SpeechOptions())
    with pytest.raises(SettingsError, match=re.escape(says)) as error:
        await model.keep_loaded()
    assert str(error.value).startswith("SMELT_MODEL=")
    assert "\n" not in str(error.value)
    with pytest.raises(SettingsError):
        await model.start()


async def test_missing_network_raises_a_settings_error_with_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # An empty cache, and a hub that nobody runs: what a machine without a network has.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    model = SharedModel(ModelOptions(name="tiny"), SpeechOptions())
    with pytest.raises(SettingsError, match=r"SMELT_MODEL=tiny could not be fetched .*: check the network, or set"):
        await model.keep_loaded()
    with pytest.raises(SettingsError):
        await model.start()
