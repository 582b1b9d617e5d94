"""Workers that stop, and responses that get lost: only a recording that stops its workers fails, after three tries."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from smelt.backend.project import Project
from smelt.backend.retries import without_waiting
from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import NotFound
from smelt.processor.polling import CAUTION_S
from smelt.processor.stages.transcribe import Transcribe
from smelt.processor.state import FileWork
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import (
    RECORDINGS,
    WorkerProcess,
    attempts_of,
    failures,
    running_worker,
    submitted,
    user_client,
)
from tests.integration.processor.http_proxy import running_http_proxy

POISON = "poison.ogg"
GOOD = ("greeting.ogg", "agreement.ogg", "number.ogg")
CLAIM = "/rest/v1/rpc/claim_smelts"
pytestmark = pytest.mark.timeout(300)

# Several workers start and stop one after another, on a machine that may be slow.
TIMEOUT_S = 150.0
RESTART_DELAY_S = 0.2

KILLED_BY_DECODING = """
import os, signal
from smelt.processor.stages.decode import Decode
_run = Decode.run
async def run(self, file):
    if file.claimed.filename == "poison.ogg":
        os.kill(os.getpid(), signal.SIGKILL)
    await _run(self, file)
Decode.run = run
"""
"""The text of a `sitecustomize.py`: the worker is killed as if by its decoder, on one recording."""

KILLED_BY_THE_MODEL = """
import os, signal
from smelt.processor.stages.transcribe import Transcribe
_run = Transcribe.run
async def run(self, file):
    if file.claimed.filename == "poison.ogg" or os.environ.get("SMELT_HOST") == "broken":
        os.kill(os.getpid(), signal.SIGKILL)
    await _run(self, file)
Transcribe.run = run
"""
"""Likewise, when the model begins with one recording, or on a broken host with any."""

GOOD_IS_FIRST = """
import asyncio
from pathlib import Path
from smelt.processor.stages.decode import Decode
from smelt.processor.stages.transcribe import Transcribe
_marker = Path(__file__).with_name("good has begun")
_has_begun = asyncio.Event()
_decode, _begin = Decode.run, Transcribe.run
async def decode(self, file):
    if file.claimed.filename == "poison.ogg" and not _marker.exists():
        await _has_begun.wait()
    await _decode(self, file)
async def begin(self, file):
    if file.claimed.filename != "poison.ogg":
        _marker.touch()
        _has_begun.set()
    await _begin(self, file)
Decode.run, Transcribe.run = decode, begin
"""
"""The poison waits for the model until the good recording has been transcribed, on any machine."""

KILLED_IN_THE_FIRST_WINDOW = """
import os, signal, threading
from smelt.processor.speech.transcriber import Transcriber
_transcribe = Transcriber.transcribe
def transcribe(*arguments, **more):
    yield next(iter(_transcribe(*arguments, **more)))
    # The checkpoint of the first passage is reported meanwhile.
    threading.Event().wait(3)
    os.kill(os.getppid(), signal.SIGKILL)
Transcriber.transcribe = transcribe
"""
"""Likewise, when the model has prepared a recording but transcribed nothing."""


class RestartedWorker:
    """A worker that is started again each time it stops; `death_count` counts that."""

    def __init__(self, stack: Stack, folder: Path, before: str, *kinds: dict[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self.death_count = 0
        self._stack = stack
        self._folder = folder
        self._before = before
        self._kinds = kinds or ({},)

    async def run(self) -> None:
        while True:
            kind = self._kinds[self.death_count % len(self._kinds)]
            worker = WorkerProcess(self._stack, self._folder, before=self._before, SMELT_LEASE_S="5", **kind)
            try:
                await until(lambda worker=worker: worker.process.poll() is not None, 2 * TIMEOUT_S)
            finally:
                worker.close()
            self.death_count += 1
            await asyncio.sleep(RESTART_DELAY_S)


@asynccontextmanager
async def restarted_worker(
    stack: Stack, folder: Path, before: str, *kinds: dict[str, str]
) -> AsyncIterator[RestartedWorker]:
    """Run a worker, each time of the next kind, until the end of the block."""
    restarted = RestartedWorker(stack, folder, before, *kinds)
    task = asyncio.create_task(restarted.run())
    try:
        yield restarted
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def quick_retries(project: Stack) -> Iterator[None]:
    """Retry without a delay."""
    with psycopg.connect(project.db_url, autocommit=True) as owner:
        owner.execute("update smelt.limits set retry_base_s = 0")
        try:
            yield
        finally:
            owner.execute("update smelt.limits set retry_base_s = default")


@pytest.fixture
def poison(tmp_path: Path) -> Path:
    return Path(shutil.copy(RECORDINGS / "budget.ogg", tmp_path / POISON))


@pytest.mark.usefixtures("quick_retries")
async def test_poison_at_the_decoder_fails_alone(project: Stack, tmp_path: Path, poison: Path) -> None:
    async with user_client(project) as app:
        ids = await submitted(app, poison, *(RECORDINGS / name for name in GOOD))
        async with restarted_worker(project, tmp_path, KILLED_BY_DECODING, {"SMELT_CONCURRENCY": "4"}) as worker:
            states = [await app.ended(smelt_id, TIMEOUT_S) for smelt_id in ids]
        assert [state.status for state in states] == ["failed", *["completed"] * len(GOOD)]
        assert states[0].error_code == "internal_error"
        assert states[0].error_message == "The worker stopped 3 times while decoding this file."
        assert worker.death_count == 3
        first, *others = await attempts_of(project, *ids)
    assert failures(first) == ["decode"] * 3
    assert all(len(failures(other)) <= 1 for other in others)


@pytest.mark.usefixtures("quick_retries")
async def test_poison_that_waits_for_the_model_is_counted_and_the_smelt_in_front_is_not(
    project: Stack, tmp_path: Path, poison: Path
) -> None:
    async with user_client(project) as app:
        good, bad = await submitted(app, RECORDINGS / "action_item.ogg", poison)
        async with restarted_worker(project, tmp_path, GOOD_IS_FIRST + KILLED_BY_THE_MODEL) as worker:
            state = await app.ended(bad, TIMEOUT_S)
            assert (await app.ended(good, TIMEOUT_S)).status == "completed"
        assert state.error_message == "The worker stopped 3 times while transcribing this file."
        known_good, known_bad = await attempts_of(project, good, bad)
    assert failures(known_good) == []
    assert failures(known_bad) == ["model"] * 3
    assert worker.death_count == 3


@pytest.mark.usefixtures("quick_retries")
async def test_poison_between_workers_of_two_kinds_fails_after_three_tries(
    project: Stack, tmp_path: Path, poison: Path
) -> None:
    """Each replaces the checkpoint of the other, which is not progress."""
    async with user_client(project) as app:
        [smelt_id] = await submitted(app, poison)
        kinds = ({"SMELT_BATCH_SIZE": "0"}, {"SMELT_BATCH_SIZE": "4"})
        async with restarted_worker(project, tmp_path, KILLED_IN_THE_FIRST_WINDOW, *kinds) as worker:
            state = await app.ended(smelt_id, TIMEOUT_S)
        [known] = await attempts_of(project, smelt_id)
    assert (state.status, state.error_code, worker.death_count) == ("failed", "internal_error", 3)
    assert failures(known) == ["model"] * 3


@pytest.mark.usefixtures("quick_retries")
async def test_crash_loop_of_one_host_fails_no_smelt_beside_a_healthy_host(
    project: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The healthy host is busy, so that the other one has room whenever a lease expires."""
    busy, is_free, transcribe = asyncio.Event(), asyncio.Event(), Transcribe.run

    async def transcribe_when_free(self: Transcribe, file: FileWork) -> None:
        busy.set()
        await is_free.wait()
        await transcribe(self, file)

    def broken_host_has_waited() -> bool:
        query = "select max((info ->> 'up_seconds')::integer) from smelt.workers where host = 'broken'"
        with psycopg.connect(project.db_url) as owner:
            [(up_s,)] = owner.execute(query).fetchall()
        return broken.death_count > 1 and up_s is not None and up_s > 2 * CAUTION_S

    monkeypatch.setattr(Transcribe, "run", transcribe_when_free)
    crashing = restarted_worker(project, tmp_path / "broken", KILLED_BY_THE_MODEL, {"SMELT_HOST": "broken"})
    async with user_client(project) as app:
        ids = await submitted(app, RECORDINGS / "action_item.ogg")
        async with running_worker(project, tmp_path, host="healthy", lease_s=5, concurrency=1):
            await busy.wait()
            async with crashing as broken:
                ids += await submitted(app, *(RECORDINGS / name for name in GOOD))
                await until(lambda: broken.death_count > 3 or broken_host_has_waited(), TIMEOUT_S)
                is_free.set()
                states = [await app.ended(smelt_id, TIMEOUT_S) for smelt_id in ids]
        known = await attempts_of(project, *ids)
    assert [state.status for state in states] == ["completed"] * len(ids)
    assert {attempt.host for one in known for attempt in one.attempts if attempt.is_failure} == {"broken"}
    for one in known:
        claimed = [attempt.claimed_at for attempt in one.attempts if attempt.host == "broken"]
        assert all((later - earlier).total_seconds() > 60 for earlier, later in pairwise(claimed))


async def test_lost_claim_responses_count_no_failures(project: Stack, tmp_path: Path) -> None:
    async with user_client(project) as app, running_http_proxy(project) as between:
        between.lost_path = CLAIM
        ids = [(await app.create(text_input=f"Note {n}: Ben will call.")).id for n in range(12)]
        with without_waiting():
            async with running_worker(between.project, tmp_path / "one"), running_worker(between.project, tmp_path):
                with psycopg.connect(project.db_url, autocommit=True) as owner:
                    for _ in range(5):
                        count = between.lost_count
                        await until(lambda count=count: between.lost_count >= count + 10)
                        leased = owner.execute("select count(*), count(distinct claim_token) from smelt.leases")
                        # Each worker has room for two, which its repeated claims get again.
                        assert leased.fetchall() == [(4, 2)]
                        owner.execute("update smelt.leases set expires_at = now() - interval '1 minute'")
                between.lost_path = None
                states = [await app.ended(smelt_id) for smelt_id in ids]
        known = await attempts_of(project, *ids)
    assert [state.status for state in states] == ["completed"] * 12
    assert [failures(one) for one in known] == [[]] * 12


async def test_outage_longer_than_the_lease_leaves_a_smelt_to_its_worker(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    """A worker with room, which has a response first, claims no expired lease with its first claim."""
    ends_at_first_claim: list[int] = []

    def counted(query: str) -> int:
        with psycopg.connect(project.db_url) as owner:
            [(count,)] = owner.execute(query.encode()).fetchall()
        return int(count)

    def on_response(path: str) -> None:
        if path == CLAIM and not ends_at_first_claim:
            ends_at_first_claim.append(counted("select count(*) from smelt.attempts where ended_as = 'expired'"))

    async with (
        user_client(project) as app,
        running_http_proxy(project) as to_busy,
        running_http_proxy(project) as to_idle,
        running_worker(to_busy.project, tmp_path / "busy", lease_s=5),
    ):
        [smelt_id] = await submitted(app, long_recording)
        async with app.watching(smelt_id) as watched:
            await until(lambda: watched.segment_count)
        expired = counted("select count(*) from smelt.attempts where ended_as = 'expired'")
        async with running_worker(to_idle.project, tmp_path / "idle", lease_s=5, host="another"):
            to_busy.rejected_prefix = to_idle.rejected_prefix = "/rest/"
            await until(lambda: to_idle.rejected_count)
            await until(lambda: counted("select count(*) from smelt.leases where expires_at < now()"))
            to_idle.on_response = on_response
            to_idle.rejected_prefix = None
            await until(lambda: ends_at_first_claim)
            to_busy.rejected_prefix = None
            state = await app.ended(smelt_id)
    assert ends_at_first_claim == [expired]
    assert state.status == "completed"


@pytest.mark.usefixtures("quick_retries")
async def test_release_of_a_worker_counts_on_request_and_keeps_its_reason(project: Stack) -> None:
    """Thus a worker ends an attempt whose decoder was killed, or hands its smelts to others without a failure."""
    async with user_client(project) as app, Project(project.api_url, project.service_role_key) as service:
        calls = WorkerRpc(service.rpc)
        smelt_id = (await app.create(text_input="Ben will call.")).id
        endings = [(False, "the model does not work here"), (True, "the decoder was killed by SIGKILL")]
        for counts, reason in endings:
            [claim] = (await calls.claim_smelts("one", host="a")).smelts
            released = await calls.release_smelt(smelt_id, claim.attempt, counts=counts, reason=reason)
            assert (released.verdict, claim.id) == ("released", smelt_id)
        # For a minute, another host has preference, if there is one.
        [claim] = (await calls.claim_smelts("two", host="b")).smelts
        await calls.fail_smelt(smelt_id, claim.attempt, "synthesis_failed", reason="no words")
        known = await calls.get_attempts(smelt_id)
        with pytest.raises(NotFound):
            await calls.get_attempts(uuid4())
    ended = [(attempt.ended_as, attempt.is_failure, attempt.reason) for attempt in known.attempts]
    assert ended == [
        *(("released", counts, reason) for counts, reason in endings),
        ("settled", True, "no words"),
    ]
    assert (known.failure_count, known.error_code) == (2, "synthesis_failed")
