"""A worker survives its model: killed, crashing, not usable; and its process stays small."""

import signal
import sys
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
import pytest

from tests.harness.patched_children import PatchedChildren
from tests.harness.processes import assert_end_with_worker, process_tree, run
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import RECORDINGS, WorkerProcess, app_client, attempts_of, running_worker

NATIVE = ("av", "faster_whisper", "ctranslate2", "onnxruntime", "numpy", "scipy", "huggingface_hub")
MAX_IDLE_MIB = 120
RUN_ONCE = f"""
import asyncio, sys
from pathlib import Path
import smelt.cli.worker
from smelt.backend.project import Project
from smelt.processor.worker import Worker, WorkerOptions
async def main(url, key, folder):
    async with Project(url, key) as project:
        options = WorkerOptions(worker_id="imports", temp_dir=Path(folder))
        await Worker(project, options).run(once=True, stop=asyncio.Event())
asyncio.run(main(*sys.argv[1:]))
print(sorted(sys.modules.keys() & {set(NATIVE)}))
"""
ENDLESS_WORK = {
    "decoding": (
        "decode",
        """
import resource
import smelt.processor.media.decode as module
real = module.decode
def decode(source, sink, *arguments, **more):
    # It may open no file here.
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    record("decode")
    while True:
        real(source, sink, *arguments, **more)
        sink.seek(0)
        sink.truncate()
module.decode = decode
""",
    ),
    "transcribing": (
        "model",
        """
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    record("transcribe")
    while True:
        for _ in real(*arguments, **more):
            pass
    yield
Transcriber.transcribe = transcribe
""",
    ),
    "extracting": (
        "extract",
        """
import smelt.processor.synthesis.extractive as module
real = module.outputs
def outputs(*arguments):
    record("outputs")
    while True:
        list(real(*arguments))
module.outputs = outputs
""",
    ),
}
"""Code for a kind of child, which then repeats its work on the first recording until it is killed."""


def failure_count(project: Stack, smelt_id: UUID) -> int:
    with psycopg.connect(project.db_url) as owner:
        [(count,)] = owner.execute("select failure_count from smelts where id = %s", [smelt_id]).fetchall()
        return int(count)


def make_due(project: Stack, smelt_id: UUID) -> None:
    """End the delay before a retry."""
    with psycopg.connect(project.db_url) as owner:
        owner.execute("update smelts set claimable_at = now() where id = %s", [smelt_id])


def attempt_count(project: Stack, smelt_id: UUID) -> int:
    with psycopg.connect(project.db_url) as owner:
        query = "select count(*) from smelt.attempts where smelt_id = %s"
        [(count,)] = owner.execute(query, [smelt_id]).fetchall()
        return int(count)


def worker_states(project: Stack) -> list[str]:
    """Return the states of the workers in this process; the project has rows of killed ones of other tests."""
    with psycopg.connect(project.db_url) as owner:
        query = "select info ->> 'state' from smelt.workers where worker_id like 'test-%'"
        return [state for (state,) in owner.execute(query)]


def model_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "smelt.processor.children.model" in child.cmdline()]


async def test_killed_model_counts_a_failure_of_its_smelt_alone(
    project: Stack, tmp_path: Path, long_recording: Path, undisturbed_texts: list[str]
) -> None:
    async with app_client(project) as app, running_worker(project, tmp_path):
        long = await app.create(long_recording)
        async with app.watching(long.id) as watched:
            await app.calls.submit_smelt(long.id)
            await until(lambda: watched.segment_count >= 5)
            other = await app.create(RECORDINGS / "greeting.ogg")
            await app.calls.submit_smelt(other.id)
            [model] = model_processes()
            model.kill()
            assert (await app.ended(other.id)).status == "completed"
            assert (failure_count(project, long.id), failure_count(project, other.id)) == (1, 0)
            make_due(project, long.id)
            state = await app.ended(long.id)
            watched.check_order()
    assert state.status == "completed"
    assert [segment.text for segment in state.segments] == undisturbed_texts


async def test_model_that_is_killed_each_time_ends_its_smelt_with_a_sentence_for_the_owner(
    project: Stack, tmp_path: Path, children: PatchedChildren
) -> None:
    children.crash("SIGKILL", at=1, times=3)
    async with app_client(project) as app, running_worker(project, tmp_path):
        created = await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(created.id)
        for count in (1, 2):
            await until(lambda count=count: failure_count(project, created.id) == count)
            make_due(project, created.id)
        failed = await app.ended(created.id)
    [known] = await attempts_of(project, created.id)
    assert (failed.status, failed.error_code) == ("failed", "internal_error")
    assert failed.error_message == "The worker stopped 3 times while transcribing this file."
    assert [(one.ended_as, one.risk, one.is_failure) for one in known.attempts] == [
        ("released", "model", True),
        ("released", "model", True),
        ("settled", "model", True),
    ]
    assert all("SIGKILL" in (one.reason or "") for one in known.attempts)


async def test_worker_that_starts_no_decoder_releases_its_smelts_without_a_failure(
    project: Stack, tmp_path: Path, children: PatchedChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smelt.processor.worker._MIN_PAUSE_S", 0.5)
    children.run("raise SystemExit(3)", "decode")
    async with app_client(project) as app, running_worker(project, tmp_path):
        created = await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(created.id)
        await until(lambda: attempt_count(project, created.id) >= 3)
        children.heal()
        completed = await app.ended(created.id)
    [known] = await attempts_of(project, created.id)
    assert (completed.status, known.failure_count) == ("completed", 0)
    *released, settled = known.attempts
    assert {(one.ended_as, one.is_failure, one.reason) for one in released} == {
        ("released", False, "the processes of the worker did not work")
    }
    assert settled.ended_as == "settled"
    # The pause between two claims doubles each time.
    pauses_s = [(b.claimed_at - a.claimed_at).total_seconds() for a, b in pairwise(known.attempts)]
    assert all(pause_s >= 0.5 * 2**n for n, pause_s in enumerate(pauses_s))


async def test_crashing_model_fails_one_file_and_the_worker_goes_on(
    project: Stack, tmp_path: Path, children: PatchedChildren
) -> None:
    children.crash("SIGSEGV", at=1, times=2)
    async with app_client(project) as app, running_worker(project, tmp_path, concurrency=1):
        bad, good = [await app.create(RECORDINGS / name) for name in ("greeting.ogg", "budget.ogg")]
        await app.calls.submit_smelt(bad.id)
        failed = await app.ended(bad.id)
        await app.calls.submit_smelt(good.id)
        completed = await app.ended(good.id)
    assert (failed.status, failed.error_code, failed.attempt) == ("failed", "transcription_failed", 1)
    assert (completed.status, completed.attempt) == ("completed", 1)


async def test_suspended_model_releases_its_smelts_without_a_failure(
    project: Stack, tmp_path: Path, children: PatchedChildren
) -> None:
    # The third death is that of the first test.
    children.crash("SIGKILL", at=1, times=3)
    async with app_client(project) as app, running_worker(project, tmp_path, concurrency=1):
        first, second = [await app.create(RECORDINGS / name) for name in ("greeting.ogg", "budget.ogg")]
        await app.calls.submit_smelt(first.id)
        await until(lambda: failure_count(project, first.id) == 1)
        await app.calls.submit_smelt(second.id)
        await until(lambda: "suspended" in worker_states(project))
        assert failure_count(project, second.id) == 0
        assert (await app.ended(second.id)).status == "completed"
        make_due(project, first.id)
        assert (await app.ended(first.id)).status == "completed"
        assert worker_states(project) == ["working"]
    assert len(children.calls) == 6


async def test_model_that_keeps_failing_fails_one_file_and_is_then_suspended(
    project: Stack, tmp_path: Path, children: PatchedChildren
) -> None:
    # The fourth transcription is the test of the model.
    children.run("""
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    if record("transcription") <= 3:
        raise RuntimeError("CUDA failed")
    return real(*arguments, **more)
Transcriber.transcribe = transcribe
""")
    async with app_client(project) as app, running_worker(project, tmp_path, concurrency=1):
        first, second = [await app.create(RECORDINGS / name) for name in ("greeting.ogg", "budget.ogg")]
        await app.calls.submit_smelt(first.id)
        failed = await app.ended(first.id)
        await app.calls.submit_smelt(second.id)
        completed = await app.ended(second.id)
    assert (failed.status, failed.error_code, failed.attempt) == ("failed", "transcription_failed", 1)
    assert (completed.status, failure_count(project, second.id)) == ("completed", 0)
    assert len(children.calls) == 5


@pytest.mark.parametrize("work", ENDLESS_WORK)
async def test_killed_worker_leaves_no_process_after_a_second(
    work: str, project: Stack, tmp_path: Path, long_recording: Path, children: PatchedChildren
) -> None:
    """Its children compute in native code, which receives no messages."""
    module, code = ENDLESS_WORK[work]
    children.run(code, module)
    worker = WorkerProcess(project, children.folder, before=(children.folder / "sitecustomize.py").read_text())
    try:
        async with app_client(project) as app:
            # The model works longer on a window than on a whole short recording.
            created = await app.create(long_recording if module == "model" else RECORDINGS / "action_item.ogg")
            await app.calls.submit_smelt(created.id)
            await until(lambda: children.calls)
            processes = process_tree(worker.process.pid)
            copies = [process for process in processes[1:] if process.ppid() != worker.process.pid]
            assert len(copies) == (0 if module == "model" else 1)
            assert {f"smelt.processor.children.{module}"} >= {copy.cmdline()[3] for copy in copies}
            worker.end(signal.SIGKILL)
            worker.process.wait()
            assert_end_with_worker(processes)
            await app.calls.cancel_smelt(created.id)
    finally:
        worker.close()


async def test_killed_worker_without_work_leaves_no_process_after_a_second(project: Stack, tmp_path: Path) -> None:
    worker = WorkerProcess(project, tmp_path)
    try:
        async with app_client(project) as app:
            created = await app.create(RECORDINGS / "greeting.ogg")
            await app.calls.submit_smelt(created.id)
            assert (await app.ended(created.id)).status == "completed"
        processes = process_tree(worker.process.pid)
        assert len(processes) > 3
        worker.end(signal.SIGKILL)
        worker.process.wait()
        assert_end_with_worker(processes)
    finally:
        worker.close()


async def test_worker_process_imports_no_native_library(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app:
        created = await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(created.id)
        command = [sys.executable, "-c", RUN_ONCE, project.api_url, project.service_role_key, str(tmp_path)]
        done = run(command, check=True)
        assert (await app.state(created.id)).status == "completed"
    assert done.stdout.splitlines()[-1] == "[]"


async def test_worker_process_is_small_after_work(project: Stack, tmp_path: Path) -> None:
    worker = WorkerProcess(project, tmp_path, SMELT_MODEL_IDLE_S="1")
    try:
        async with app_client(project) as app:
            created = await app.create(RECORDINGS / "greeting.ogg")
            await app.calls.submit_smelt(created.id)
            assert (await app.ended(created.id)).status == "completed"
        resident_mib = psutil.Process(worker.process.pid).memory_info().rss / 2**20
        assert resident_mib < MAX_IDLE_MIB
        print(f"{resident_mib:.0f} MiB")
    finally:
        worker.close()


async def test_killed_model_with_two_recordings_in_its_lanes_counts_no_failure(
    project: Stack, tmp_path: Path, long_recording: Path, undisturbed_texts: list[str]
) -> None:
    """Both continue from their checkpoints, so that neither pays for the other one."""
    async with app_client(project) as app, running_worker(project, tmp_path, model_lanes=2, cpu_threads=1):
        smelts = [await app.create(long_recording) for _ in range(2)]
        async with app.watching(smelts[0].id) as first, app.watching(smelts[1].id) as second:
            for one in smelts:
                await app.calls.submit_smelt(one.id)
            await until(lambda: first.segment_count >= 5 and second.segment_count >= 5)
            assert not first.ends
            assert not second.ends
            [model] = model_processes()
            model.kill()
            states = [await app.ended(one.id) for one in smelts]
            first.check_order()
            second.check_order()
        known = await attempts_of(project, *(one.id for one in smelts))
    assert [[segment.text for segment in state.segments] for state in states] == [undisturbed_texts] * 2
    assert [one.failure_count for one in known] == [0, 0]
    assert [len(one.attempts) for one in known] == [1, 1]
