"""Two sessions that meet: one is held in its open transaction until the other is seen to wait, or to pass by."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from db_calls import Caller, Database, claimed, expire_leases, refusal, results_for, service, submitted, upload, user

FILES = [{"filename": "a.mp3", "size_bytes": 1000}]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def second(database: Database) -> Caller:
    """Another worker, calling in a session of its own."""
    return database.caller(service())


@pytest.fixture
def again(database: Database, owner: str) -> Caller:
    """The same user in another session."""
    return database.caller(user(owner))


@pytest.fixture
def waiting(database: Database, pool: ThreadPoolExecutor) -> Callable[..., "Future[Any]"]:
    """Start a call that has to wait for somebody's lock; answer once it does."""

    def start(caller: Caller, function: str, **arguments: object) -> "Future[Any]":
        call = pool.submit(caller, function, **arguments)
        database.await_blocked(caller.session)
        return call

    return start


def test_a_claim_skips_locked_rows(database: Database, client: Caller, worker: Caller, second: Caller) -> None:
    first, other = (submitted(database, client)["id"] for _ in range(2))
    with worker.held():
        [claim] = worker.within("claim_smelts", worker_id="one")["smelts"]
        assert claim["id"] == first
        [claim] = second("claim_smelts", worker_id="two", max_count=5)["smelts"]
        assert claim["id"] == other
    assert second("claim_smelts", worker_id="two", max_count=5)["smelts"] == []


def test_an_expired_lease_is_taken_once(database: Database, client: Caller, worker: Caller, second: Caller) -> None:
    submitted(database, client)
    old = claimed(worker, "gone")
    expire_leases(database)
    with worker.held():
        [new] = worker.within("claim_smelts", worker_id="one")["smelts"]
        assert second("claim_smelts", worker_id="two")["smelts"] == []
    assert second("claim_smelts", worker_id="two")["smelts"] == []
    assert new["attempt"] > old["attempt"]


def test_a_report_of_a_worker_that_was_late_keeps_its_smelt(
    database: Database, client: Caller, worker: Caller, second: Caller
) -> None:
    """A lease that ran out and was not taken yet is renewed by the next sign of life."""
    submitted(database, client)
    claim = claimed(worker)
    expire_leases(database)
    with worker.held():
        report = worker.within("report_progress", smelt_id=claim["id"], attempt=claim["attempt"], status="validating")
        assert report["verdict"] == "go_on"
        assert second("claim_smelts", worker_id="two")["smelts"] == []
    assert second("claim_smelts", worker_id="two")["smelts"] == []


def test_a_claim_does_not_wait_for_a_lease_that_is_being_renewed(
    database: Database, client: Caller, worker: Caller, second: Caller
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    expire_leases(database)
    leases = [{"smelt_id": claim["id"], "attempt": claim["attempt"]}]
    with worker.held():
        worker.within("renew_leases", worker_id="one", leases=leases)
        assert second("claim_smelts", worker_id="two")["smelts"] == []
    assert second("claim_smelts", worker_id="two")["smelts"] == []
    assert worker("renew_leases", worker_id="one", leases=leases)["leases"][0]["verdict"] == "go_on"


@pytest.mark.parametrize("call", ["report_progress", "complete_smelt", "fail_smelt", "release_smelt"])
def test_a_call_that_waited_for_the_claim_of_another_worker_is_lost(
    database: Database, client: Caller, worker: Caller, second: Caller, waiting: Callable[..., "Future[Any]"], call: str
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    expire_leases(database)
    arguments: dict[str, object] = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
    arguments |= {"complete_smelt": {"results": results_for(claim)}, "fail_smelt": {"error_code": "cancelled"}}.get(
        call, {}
    )
    with second.held():
        [new] = second.within("claim_smelts", worker_id="two")["smelts"]
        late = waiting(worker, call, **arguments)
    assert late.result()["verdict"] == "lost"
    assert database.rows("select status::text, attempt from public.smelts") == [("pending", new["attempt"])]


def test_cancel_after_complete_answers_the_completion(
    database: Database, client: Caller, worker: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    with worker.held():
        worker.within("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim))
        cancel = waiting(client, "cancel_smelt", smelt_id=claim["id"])
    assert (cancel.result()["status"], cancel.result()["outcome"]) == ("completed", "complete")
    assert database.value("select count(*) from smelt.outbox where topic like 'smelt:%%'") == 1


@pytest.mark.parametrize("settle", ["complete_smelt", "fail_smelt", "release_smelt"])
def test_a_worker_that_settles_after_a_cancel_is_answered_the_cancel(
    database: Database,
    client: Caller,
    worker: Caller,
    waiting: Callable[..., "Future[Any]"],
    settle: str,
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    arguments: dict[str, object] = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
    arguments |= {"complete_smelt": {"results": []}, "fail_smelt": {"error_code": "internal_error"}}.get(settle, {})
    with client.held():
        client.within("cancel_smelt", smelt_id=claim["id"])
        late = waiting(worker, settle, **arguments)
    answer = late.result()
    assert (answer["verdict"], answer["status"], answer["error_code"]) == ("settled", "failed", "cancelled")
    assert database.value("select count(*) from smelt.outbox where topic like 'smelt:%%'") == 1
    assert database.value("select count(*) from public.smelt_results") == 0


def test_the_same_completion_twice_at_once_is_one(
    database: Database, client: Caller, worker: Caller, second: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    arguments = {"smelt_id": claim["id"], "attempt": claim["attempt"], "results": results_for(claim)}
    with worker.held():
        answer = worker.within("complete_smelt", **arguments)
        repeat = waiting(second, "complete_smelt", **arguments)
    assert repeat.result() == answer
    assert database.value("select count(*) from public.smelt_results") == 1


def test_a_cancel_keeps_what_was_reported_just_before(
    database: Database, client: Caller, worker: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    with worker.held():
        report = worker.within(
            "report_progress", smelt_id=claim["id"], attempt=claim["attempt"], status="transcribing", percentage=42
        )
        cancel = waiting(client, "cancel_smelt", smelt_id=claim["id"])
    assert cancel.result()["progress"]["percentage"] == 42
    assert cancel.result()["seq"] == report["event"]["seq"] + 1


def test_two_last_smelts_of_a_batch_that_commit_together_count_right(
    database: Database, client: Caller, worker: Caller, second: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    batch = client("create_batch")
    for _ in range(2):
        submitted(database, client, batch_id=batch["id"])
    one, two = worker("claim_smelts", worker_id="w", max_count=2)["smelts"]
    with worker.held():
        worker.within("complete_smelt", smelt_id=one["id"], attempt=one["attempt"], results=results_for(one))
        late = waiting(second, "fail_smelt", smelt_id=two["id"], attempt=two["attempt"], error_code="internal_error")
    assert late.result()["verdict"] == "settled"
    [payload] = [
        payload for (payload,) in database.rows("select payload from smelt.outbox where topic like 'batch:%%'")
    ]
    assert (payload["total"], payload["completed"], payload["failed"]) == (2, 1, 1)
    assert (payload["status"], payload["progress"]) == ("completed", 100)
    assert payload["seq"] == database.value("select seq from public.smelt_batches")


def test_two_claims_that_end_smelts_of_one_batch_do_not_deadlock(
    database: Database, client: Caller, worker: Caller, second: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    database.run("update smelt.limits set max_failures = 1")
    batches = [client("create_batch")["id"] for _ in range(2)]
    for index in range(4):
        submitted(database, client, batch_id=batches[index % 2])
    worker("claim_smelts", worker_id="gone", max_count=4)
    # Due in the order of their creation: each claim below gets one of either batch.
    database.run(
        "update smelt.leases as l set expires_at = s.created_at from public.smelts as s where s.id = l.smelt_id"
    )
    with worker.held():
        assert worker.within("claim_smelts", worker_id="one", max_count=2)["smelts"] == []
        late = waiting(second, "claim_smelts", worker_id="two", max_count=4)
    assert late.result()["smelts"] == []
    assert database.rows("select total, failed, status::text from public.smelt_batches") == [(2, 2, "failed")] * 2


def test_a_request_that_is_sent_twice_at_once_makes_one_smelt(
    client: Caller, again: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    arguments: dict[str, object] = {"files": FILES, "idempotency_key": "monday"}
    with client.held():
        created = client.within("create_smelt", **arguments)
        repeat = waiting(again, "create_smelt", **arguments)
    assert repeat.result() == created


def test_two_requests_at_once_do_not_pass_the_limit_together(
    database: Database, client: Caller, again: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    database.run("update smelt.limits set max_open = 1")
    with client.held():
        client.within("create_smelt", files=FILES)
        late = waiting(again, "create_smelt", files=FILES)
    with pytest.raises(psycopg.Error) as refused:
        late.result()
    assert refusal(refused.value) == ("PT429", "too_many_open")


def test_two_submits_at_once_are_one(
    database: Database, client: Caller, again: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    created = client("create_smelt", files=FILES)
    upload(database, created)
    with client.held():
        state = client.within("submit_smelt", smelt_id=created["id"])
        late = waiting(again, "submit_smelt", smelt_id=created["id"])
    assert late.result()["seq"] == state["seq"]


def test_a_retry_that_waited_for_the_purge_finds_its_audio_expired(
    database: Database, client: Caller, worker: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    smelt_id = submitted(database, client)["id"]
    client("cancel_smelt", smelt_id=smelt_id)
    database.run("update public.smelts set completed_at = now() - interval '25 h'")
    with worker.held():
        assert worker.within("list_expired", worker_id="w")["smelts"] == [smelt_id]
        late = waiting(client, "retry_smelt", smelt_id=smelt_id)
    with pytest.raises(psycopg.Error) as refused:
        late.result()
    assert refusal(refused.value) == ("PT410", "audio_expired")


def test_the_purge_passes_by_a_smelt_that_is_being_retried(database: Database, client: Caller, worker: Caller) -> None:
    smelt_id = submitted(database, client)["id"]
    client("cancel_smelt", smelt_id=smelt_id)
    database.run("update public.smelts set completed_at = now() - interval '25 h'")
    with client.held():
        client.within("retry_smelt", smelt_id=smelt_id)
        assert worker("list_expired", worker_id="w") == {"objects": [], "smelts": []}
    assert worker("list_expired", worker_id="w") == {"objects": [], "smelts": []}
    assert claimed(worker)["id"] == smelt_id


def test_a_message_is_taken_by_one_of_two_that_ask_at_once(
    database: Database, client: Caller, worker: Caller, second: Caller
) -> None:
    smelt_id = submitted(database, client)["id"]
    client("cancel_smelt", smelt_id=smelt_id)
    with worker.held():
        assert len(worker.within("claim_outbox", worker_id="one", smelt_id=smelt_id)) == 2
        assert second("claim_outbox", worker_id="two", smelt_id=smelt_id) == []
        # Whoever retries does not wait for what is being sent.
        assert client("retry_smelt", smelt_id=smelt_id)["run"] == 2
    assert second("claim_outbox", worker_id="two", smelt_id=smelt_id) == []


def test_a_deleted_smelt_is_lost_to_the_worker_that_waited(
    database: Database, client: Caller, worker: Caller, waiting: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    with client.held():
        client.within("delete_smelt", smelt_id=claim["id"])
        late = waiting(worker, "report_progress", smelt_id=claim["id"], attempt=claim["attempt"], status="decoding")
    assert late.result() == {"verdict": "lost", "event": None}


def test_nobody_sees_a_state_that_is_not_committed(database: Database, client: Caller, worker: Caller) -> None:
    created = submitted(database, client)
    claim = claimed(worker)
    before = client("get_smelt", smelt_id=created["id"])
    with worker.held():
        worker.within("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim))
        assert client("get_smelt", smelt_id=created["id"]) | {"eta_seconds": None} == before
        assert client("get_smelt", smelt_id=str(created["id"]), after_seq=before["seq"]).keys() == {
            "id",
            "seq",
            "next_poll_s",
            "worker_online",
        }
    assert client("get_smelt", smelt_id=created["id"])["status"] == "completed"


def test_an_unknown_smelt_is_lost(worker: Caller) -> None:
    unknown = str(uuid4())
    assert worker("release_smelt", smelt_id=unknown, attempt=1) == {"verdict": "lost"}
    assert worker("report_progress", smelt_id=unknown, attempt=1)["verdict"] == "lost"
