"""A worker honors the options of a smelt in its children, and releases a smelt of another model."""

import wave
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from faster_whisper import decode_audio
from psycopg.types.json import Jsonb

from smelt.contract.options import SmeltOptions
from smelt.contract.state import Snapshot
from tests.harness.requested_options import give_options
from tests.harness.stacks import Stack
from tests.harness.voice_models import muffled, write_voice_model
from tests.harness.waiting import until
from tests.harness.worker_harness import (
    RECORDINGS,
    STANDUP,
    AppClient,
    attempts_of,
    run_worker_once,
    running_worker,
    user_client,
)

RATE = 16_000


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[UUID, dict[str, Any]]:
    """Return the options by smelt, to be filled."""
    found: dict[UUID, dict[str, Any]] = {}
    give_options(monkeypatch, found)
    return found


@pytest.fixture(scope="module")
def dialog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 24 s of speech, whose stretches of 6 s alternate between two channels."""
    sound = decode_audio(str(STANDUP))[: 24 * RATE]
    is_left = np.arange(len(sound)) // (6 * RATE) % 2 == 0
    channels = np.stack([np.where(is_left, sound, 0), np.where(is_left, 0, sound)], axis=1)
    path = tmp_path_factory.mktemp("dialog") / "dialog.wav"
    with wave.open(str(path), "wb") as sink:
        sink.setparams((2, 2, RATE, 0, "NONE", ""))
        sink.writeframes((channels * 32767).astype(np.int16).tobytes())
    return path


async def submitted(app: AppClient, *files: Path, **more: Any) -> UUID:
    smelt = await app.create(*files, **more)
    await app.calls.submit_smelt(smelt.id)
    return smelt.id


async def test_speakers_are_identified_in_a_mixed_recording(project: Stack, tmp_path: Path) -> None:
    """The labels reach watchers with segments that they already have."""
    sound = decode_audio(str(STANDUP))[: 24 * RATE]
    parts = [part if n % 2 == 0 else muffled(part) for n, part in enumerate(np.split(sound, 4))]
    with wave.open(str(tmp_path / "mixed.wav"), "wb") as sink:
        sink.setparams((1, 2, RATE, 0, "NONE", ""))
        sink.writeframes((np.concatenate(parts) * 32767).astype(np.int16).tobytes())
    voices = write_voice_model(tmp_path / "voices.onnx")
    async with user_client(project) as app:
        smelt = await app.create(tmp_path / "mixed.wav", prompts=(), options=SmeltOptions(speakers=True))
        async with app.watching(smelt.id) as watched:
            await app.calls.submit_smelt(smelt.id)
            await run_worker_once(project, tmp_path, speaker_model=voices)
            await until(lambda: watched.ends)
        state = await app.calls.get_smelt(smelt.id)
        assert isinstance(state, Snapshot)
        watched.check_order()
    speakers = [segment.speaker for segment in state.segments]
    assert set(speakers) == {"Speaker 1", "Speaker 2"}
    assert speakers[0] == "Speaker 1"
    assert [watched.segments[(str(s.file_id), s.index)]["speaker"] for s in state.segments] == speakers
    trust = state.files[0].trust
    assert trust is not None
    assert (trust.speaker_count, trust.uncertain_speakers) == (2, 0.0)


async def test_worker_without_a_speaker_model_fails_the_file_with_a_sentence(project: Stack, tmp_path: Path) -> None:
    async with user_client(project) as app:
        smelt = await submitted(app, STANDUP, prompts=(), options=SmeltOptions(speakers=True))
        await run_worker_once(project, tmp_path)
        state = await app.calls.get_smelt(smelt)
        assert isinstance(state, Snapshot)
    assert (state.status, state.error_code) == ("failed", "transcription_failed")
    assert (state.error_message or "").startswith("The speakers can't be identified: no speaker model is set up here.")


async def test_separate_channels_are_speakers_in_live_segments_and_in_the_transcript(
    project: Stack, tmp_path: Path, dialog: Path
) -> None:
    async with user_client(project) as app:
        smelt = await app.create(dialog, prompts=(), options=SmeltOptions(channels="separate", word_times=True))
        async with app.watching(smelt.id) as watched:
            await app.calls.submit_smelt(smelt.id)
            await run_worker_once(project, tmp_path)
            await until(lambda: watched.ends)
        state = await app.calls.get_smelt(smelt.id, with_words=True)
        assert isinstance(state, Snapshot)
        watched.check_order()
    assert {segment["speaker"] for segment in watched.segments.values()} == {"Speaker 1", "Speaker 2"}
    segments = state.segments
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
    assert all(segment.words for segment in segments)
    assert state.results is not None
    content = state.results[0].content
    assert content.startswith("Speaker 1: ")
    assert content.count("\n\nSpeaker 2: ") == 2
    assert (state.status, state.progress.percentage) == ("completed", 100)


async def test_smelt_without_prompts_has_its_transcripts_as_combined_result(project: Stack, tmp_path: Path) -> None:
    files = RECORDINGS / "greeting.ogg", RECORDINGS / "budget.ogg"
    async with user_client(project) as app:
        smelt_id = await submitted(app, *files, mode="combine", prompts=())
        # Nothing listens there: a request to the language model would fail the smelt.
        await run_worker_once(project, tmp_path, llm_base_url="http://127.0.0.1:9/v1", llm_model="none")
        state = await app.ended(smelt_id)
    assert (state.status, state.outcome) == ("completed", "complete")
    assert state.results is not None
    [result] = state.results
    texts = [" ".join(segment.text.strip() for segment in state.segments_of(file.id)) for file in state.files]
    assert result.content == "\n\n".join(
        part for file, text in zip(files, texts, strict=True) for part in (f"# {file.name}", text)
    ).replace("_", r"\_")


@pytest.mark.parametrize(
    ("requested", "named"),
    [({"mood": "happy"}, "mood"), ({"language": "de"}, "English"), ({"task": "translate"}, "English")],
    ids=str,
)
async def test_option_that_this_worker_cannot_honor_fails_the_smelt_before_any_work(
    requested: dict[str, Any], named: str, project: Stack, tmp_path: Path
) -> None:
    async with user_client(project) as app:
        smelt_id = await submitted(app, RECORDINGS / "greeting.ogg")
        # A newer schema may have options that this version rejects.
        with psycopg.connect(project.db_url) as owner:
            owner.execute("update public.smelts set options = %s where id = %s", [Jsonb(requested), smelt_id])
        await run_worker_once(project, tmp_path)
        state = await app.ended(smelt_id)
    assert (state.status, state.error_code) == ("failed", "transcription_failed")
    assert state.error_message == state.files[0].error_message
    assert named in (state.error_message or "")
    assert state.files[0].duration_seconds is None
    assert state.segments == ()
    [known] = await attempts_of(project, smelt_id)
    assert [attempt.ended_as for attempt in known.attempts] == ["settled"]


async def test_smelt_waits_for_a_worker_that_has_its_model(project: Stack, tmp_path: Path) -> None:
    async with user_client(project) as app:
        missing = await submitted(app, RECORDINGS / "greeting.ogg", options=SmeltOptions(model="large-v3"))
        named = await submitted(app, RECORDINGS / "greeting.ogg", options=SmeltOptions(model="demo"))
        async with running_worker(project, tmp_path):
            assert (await app.ended(named)).status == "completed"
            waiting = await app.state(missing)
    assert (waiting.status, waiting.attempt, waiting.worker_online) == ("pending", 0, False)
    assert waiting.progress.message == "No worker has the model large-v3."


async def test_smelt_of_another_model_is_released_without_a_failure_until_a_worker_has_it(
    project: Stack, tmp_path: Path, options: dict[UUID, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smelt.processor.worker._MIN_PAUSE_S", 0.2)
    async with user_client(project) as app:
        smelt_id = await submitted(app, RECORDINGS / "greeting.ogg")
        options[smelt_id] = {"model": "large-v3"}
        async with running_worker(project, tmp_path):
            await until(lambda: worker_info(project)["models"] == ["demo"])
            await until(lambda: attempt_count(project, smelt_id) >= 3)
            options[smelt_id] = {"model": "demo"}
            state = await app.ended(smelt_id)
    [known] = await attempts_of(project, smelt_id)
    assert (state.status, known.failure_count) == ("completed", 0)
    *released, settled = known.attempts
    assert {(attempt.ended_as, attempt.is_failure) for attempt in released} == {("released", False)}
    assert released[0].reason == "the worker does not have the requested model"
    assert settled.ended_as == "settled"


def worker_info(project: Stack) -> dict[str, Any]:
    with psycopg.connect(project.db_url) as owner:
        rows = owner.execute("select info from smelt.workers order by seen_at desc limit 1").fetchall()
    found: dict[str, Any] = rows[0][0] if rows else {"models": None}
    return found


def attempt_count(project: Stack, smelt_id: UUID) -> int:
    with psycopg.connect(project.db_url) as owner:
        query = "select count(*) from smelt.attempts where smelt_id = %s"
        [(count,)] = owner.execute(query, [smelt_id]).fetchall()
    return int(count)
