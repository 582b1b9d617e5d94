"""A worker processes submitted smelts to their end, against a real project."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.vocabulary import Status
from smelt.errors import SettingsError
from smelt.processor.leases import Leases
from tests.harness.fake_llm import delayed_response, error_response, serving
from tests.harness.patched_children import PatchedChildren
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import RECORDINGS, STANDUP, TIMEOUT_S, app_client, run_worker_once, running_worker

SPOKEN_LINES = [line.strip() for line in STANDUP.with_suffix(".txt").read_text().lower().splitlines()]


def words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


async def test_recording_is_transcribed_and_synthesized_with_ordered_events(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app, running_worker(project, tmp_path):
        created = await app.create(STANDUP, prompts=["summarize", "action_items"])
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            await until(lambda: watched.ends)
            state = await app.ended(created.id)
    [(event, end)] = watched.ends
    assert event == "completed"
    assert end["outcome"] == "complete"
    assert end["results"] == [result.model_dump(mode="json") for result in state.results or ()]
    assert "- [ ] Martin: send the invoice by Monday" in end["results"][0]["content"]
    watched.check_order()
    stages = list(dict.fromkeys(payload["status"] for payload in watched.named("progress")))
    # A stage that ends before the previous report is confirmed is not reported.
    assert stages == [stage for stage in get_args(Status) if stage in stages]
    assert stages[-1] == "synthesizing"
    assert watched.segment_count == len(state.segments)
    assert [words(segment.text) for segment in state.segments] == [words(line) for line in SPOKEN_LINES]
    assert state.files[0].duration_seconds == pytest.approx(67.38, abs=0.1)
    assert state.files[0].language == "en"
    assert watched.named("segments") == [], "they fit into the progress"
    assert os.listdir(tmp_path) == []


async def test_worker_once_completes_all_due_smelts_and_exits(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app:
        texts = [await app.create(text_input=f"Ben will send {n} reports.", prompts=["action_items"]) for n in range(2)]
        recording = await app.create(RECORDINGS / "action_item.mp3", prompts=["action_items"])
        await app.calls.submit_smelt(recording.id)
        await run_worker_once(project, tmp_path)
        for number, created in enumerate(texts):
            [result] = (await app.state(created.id)).results or ()
            assert result.content == f"- [ ] Ben: send {number} reports"
        state = await app.state(recording.id)
        assert state.status == "completed"
        assert words(" ".join(segment.text for segment in state.segments)) == words(
            (RECORDINGS / "action_item.txt").read_text()
        )


async def test_partial_outcome_when_one_of_three_files_is_bad(project: Stack, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"not a recording at all\n" * 30)
    user = sign_up(project)
    async with app_client(project, user.access_token) as app:
        created = await app.create(RECORDINGS / "decision.ogg", bad, RECORDINGS / "budget.ogg")
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            await run_worker_once(project, tmp_path / "work")
            await until(lambda: watched.ends)
        state = await app.state(created.id)
        assert state.status == "completed"
        assert state.outcome == "partial"
        assert [file.status for file in state.files] == ["completed", "failed", "completed"]
        assert state.files[1].error_code == "invalid_format"
        assert [result.filename for result in state.results or ()] == ["decision.ogg", "budget.ogg"]
        watched.check_order()


async def test_combine_mode_gives_one_result_with_file_names_as_headings(project: Stack, tmp_path: Path) -> None:
    user = sign_up(project)
    async with app_client(project, user.access_token) as app:
        created = await app.create(RECORDINGS / "decision.ogg", RECORDINGS / "budget.ogg", mode="combine")
        await app.calls.submit_smelt(created.id)
        await run_worker_once(project, tmp_path)
        [result] = (await app.state(created.id)).results or ()
        assert result.file_id == created.id
        headings = [line for line in result.content.splitlines() if line.startswith("# ")]
        assert headings == ["# decision.ogg", "# budget.ogg"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.mp3", b"", "corrupted_file"),
        ("notes.mp3", b"These are notes.\n" * 40, "invalid_format"),
        ("noise.wav", bytes(range(256)) * 80, "corrupted_file"),
        ("cut.flac", (RECORDINGS / "action_item.flac").read_bytes()[:100], "corrupted_file"),
    ],
)
async def test_bad_file_fails_with_its_error_code(
    name: str, content: bytes, code: str, project: Stack, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    async with app_client(project) as app:
        created = await app.create(tmp_path / name)
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            await run_worker_once(project, tmp_path / "work")
            await until(lambda: watched.ends)
        state = await app.state(created.id)
        assert (state.status, state.error_code) == ("failed", code)
        assert (state.files[0].status, state.files[0].error_code) == ("failed", code)
        [(event, end)] = watched.ends
        assert event == "failed"
        assert end["error_code"] == code
        assert end["error_message"] == state.error_message
        watched.check_order()
        assert watched.named("progress")[-1]["status"] in ("pending", "validating", "decoding")


async def test_truncated_file_completes_and_reports_the_damage(project: Stack, tmp_path: Path) -> None:
    (tmp_path / "cut.flac").write_bytes((RECORDINGS / "action_item.flac").read_bytes()[:20_000])
    async with app_client(project) as app:
        created = await app.create(tmp_path / "cut.flac")
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            await run_worker_once(project, tmp_path / "work")
            await until(lambda: watched.ends)
        state = await app.state(created.id)
        assert (state.status, state.outcome) == ("completed", "complete")
        trust = state.files[0].trust
        assert trust is not None
        assert trust.damaged_seconds is not None
        assert trust.damaged_seconds > 1
        [(start_s, _)] = trust.damaged
        assert start_s == pytest.approx(state.files[0].duration_seconds, abs=0.1)


async def test_retry_of_a_failed_synthesis_does_not_transcribe_again(
    project: Stack, tmp_path: Path, children: PatchedChildren
) -> None:
    async with app_client(project) as app, serving(lambda _: error_response(401, "invalid_api_key")) as model:
        created = await app.create(RECORDINGS / "decision.ogg")
        await app.calls.submit_smelt(created.id)
        await run_worker_once(project, tmp_path, llm_base_url=model.base_url, llm_model="m")
        failed = await app.state(created.id)
        assert (failed.status, failed.error_code) == ("failed", "api_key_invalid")
        assert failed.segments
        model.responder = lambda _: "It was decided."
        # From now on, using the model would fail.
        children.crash("SIGSEGV", at=0, times=1000)
        retried = await app.calls.retry_smelt(created.id)
        assert (retried.status, retried.run) == ("pending", 2)
        await run_worker_once(project, tmp_path, llm_base_url=model.base_url, llm_model="m")
        state = await app.state(created.id)
        assert state.status == "completed"
        assert [result.content for result in state.results or ()] == ["It was decided."]
        assert [segment.text for segment in state.segments] == [segment.text for segment in failed.segments]


async def test_progress_names_the_output_that_a_language_model_writes(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app, serving(lambda _: "") as model:
        created = await app.create(text_input="Anna will call Ben.", prompts=["summarize", "qa_format"], submit=False)
        async with app.watching(created.id) as watched:

            async def once_watched(title: str) -> str:
                await until(
                    lambda: (
                        f"Generating output: {title}..."
                        in [payload["progress"]["message"] for payload in watched.named("progress")]
                    )
                )
                return "Anna calls Ben."

            titles = iter(("Summary (1 of 2)", "Questions and answers (2 of 2)"))
            model.responder = lambda _: delayed_response(once_watched(next(titles)))
            await app.calls.submit_smelt(created.id)
            await run_worker_once(project, tmp_path, llm_base_url=model.base_url, llm_model="m")
            await until(lambda: watched.ends)
        assert next(titles, None) is None
        assert (await app.state(created.id)).status == "completed"


async def test_rate_limit_delays_the_retry_by_retry_after_and_keeps_outputs(project: Stack, tmp_path: Path) -> None:
    slow_down = error_response(429, "rate_limit_exceeded", {"retry-after": "90"})
    async with app_client(project) as app, serving(lambda _: slow_down) as model:
        model.responder = lambda _: "Anna will." if len(model.conversations) == 1 else slow_down
        created = await app.create(text_input="Anna will call Ben.", prompts=["summarize", "qa_format"])
        await run_worker_once(project, tmp_path, llm_base_url=model.base_url, llm_model="m")
        state = await app.state(created.id)
        assert (state.status, state.progress.message) == ("synthesizing", "Retrying...")
        with psycopg.connect(project.db_url) as owner:
            rows = owner.execute("select claimable_at - updated_at from smelts where id = %s", [created.id]).fetchall()
            assert rows == [(timedelta(seconds=90),)]
            owner.execute("update smelts set claimable_at = now() where id = %s", [created.id])
        # Outputs from before the limit are not requested again.
        model.responder = lambda _: "Who? Anna."
        await run_worker_once(project, tmp_path, llm_base_url=model.base_url, llm_model="m")
        [result] = (await app.state(created.id)).results or ()
    assert result.content == "## Summary\n\nAnna will.\n\n## Questions and answers\n\nWho? Anna."
    assert len(model.conversations) == 3


async def test_model_that_cannot_be_loaded_raises_settings_error_before_a_claim(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app:
        created = await app.create(RECORDINGS / "decision.ogg")
        await app.calls.submit_smelt(created.id)
        with pytest.raises(SettingsError, match="SMELT_MODEL"):
            await run_worker_once(project, tmp_path, model=str(tmp_path))
        await run_worker_once(project, tmp_path)
        state = await app.state(created.id)
    assert (state.status, state.attempt) == ("completed", 1)


@pytest.mark.parametrize("full", ["while it loads", "in the middle of a recording"])
async def test_out_of_memory_lowers_the_compute_type_without_a_failure(
    full: str, project: Stack, tmp_path: Path, children: PatchedChildren
) -> None:
    children.run(f"""
import ctranslate2
from faster_whisper import WhisperModel
load, encode = ctranslate2.models.Whisper, WhisperModel.encode
def loaded(*arguments, **more):
    if {full == "while it loads"} and more["compute_type"] == "float32":
        raise RuntimeError("CUDA failed with error out of memory")
    return load(*arguments, **more)
def encoded(model, features):
    if record(model.model.compute_type) == 3 and model.model.compute_type == "float32":
        raise RuntimeError("CUDA failed with error out of memory")
    return encode(model, features)
ctranslate2.models.Whisper, WhisperModel.encode = loaded, encoded
""")
    async with app_client(project) as app:
        created = await app.create(STANDUP)
        await app.calls.submit_smelt(created.id)
        await run_worker_once(project, tmp_path, device="cpu", compute_type="float32", beam_size=1)
        state = await app.state(created.id)
    assert state.status == "completed"
    assert [words(segment.text) for segment in state.segments] == [words(line) for line in SPOKEN_LINES]
    assert children.calls.count("float32") == (0 if full == "while it loads" else 3)
    assert "int8_float32" in children.calls
    with psycopg.connect(project.db_url) as owner:
        tries = owner.execute("select run, attempt, failure_count from smelts where id = %s", [created.id]).fetchall()
    assert tries == [(1, 1, 0)]


async def test_lease_renewal_after_settling_is_not_reported_as_lost(
    project: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original_add, original_complete = Leases.add, WorkerRpc.complete_smelt
    used: list[Leases] = []

    def add(leases: Leases, *arguments: Any) -> None:
        used.append(leases)
        original_add(leases, *arguments)

    async def complete(*arguments: Any) -> Any:
        result = await original_complete(*arguments)
        await used[-1].renew()
        return result

    monkeypatch.setattr(Leases, "add", add)
    monkeypatch.setattr(WorkerRpc, "complete_smelt", complete)
    with caplog.at_level("INFO", "smelt.processor.attempt"):
        async with app_client(project) as app:
            created = await app.create(text_input="Anna will call Ben.")
            await run_worker_once(project, tmp_path)
            assert (await app.state(created.id)).status == "completed"
    assert "settled: complete" in caplog.text
    assert "lost" not in caplog.text


async def test_worker_that_runs_once_ends_with_its_last_smelt(
    project: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has room for another smelt, and does not wait until it polls again."""
    monkeypatch.setattr("smelt.processor.claim_loop.poll_wait_s", lambda **_: 1000.0)
    async with app_client(project) as app:
        created = await app.create(text_input="Anna will call Ben.")
        async with asyncio.timeout(TIMEOUT_S):
            await run_worker_once(project, tmp_path, concurrency=2)
        assert (await app.state(created.id)).status == "completed"
