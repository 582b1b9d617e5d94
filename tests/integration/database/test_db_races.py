"""Races of two sessions: one keeps its transaction open until the other waits for its lock, or skips it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.integration.database.db_calls import (
    Caller,
    Database,
    anon,
    claimed,
    expire_leases,
    rejection,
    results_for,
    service,
    submitted,
    upload,
    user,
)

FILES = [{"filename": "a.mp3", "size_bytes": 1000}]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def second_worker(database: Database) -> Caller:
    """Another worker, in another session."""
    return database.caller(service())


@pytest.fixture
def second_client(database: Database, owner: str) -> Caller:
    """The same user in another session."""
    return database.caller(user(owner))


@pytest.fixture
def blocked_call(database: Database, pool: ThreadPoolExecutor) -> Callable[..., "Future[Any]"]:
    """Start a call that waits for a lock of another session; return once it waits."""

    def start(caller: Caller, function: str, **arguments: object) -> "Future[Any]":
        call = pool.submit(caller, function, **arguments)
        database.await_blocked(caller.session)
        return call

    return start


def test_claim_skips_locked_rows(database: Database, client: Caller, worker: Caller, second_worker: Caller) -> None:
    first, other = (submitted(database, client)["id"] for _ in range(2))
    with worker.open_transaction():
        [claim] = worker.call_in_transaction("claim_smelts", worker_id="one")["smelts"]
        assert claim["id"] == first
        [claim] = second_worker("claim_smelts", worker_id="two", max_count=5)["smelts"]
        assert claim["id"] == other
    assert second_worker("claim_smelts", worker_id="two", max_count=5)["smelts"] == []


def test_lease_that_expired_is_claimed_by_one_worker_only(
    database: Database, client: Caller, worker: Caller, second_worker: Caller
) -> None:
    submitted(database, client)
    old = claimed(worker, "expired")
    expire_leases(database)
    with worker.open_transaction():
        [new] = worker.call_in_transaction("claim_smelts", worker_id="one")["smelts"]
        assert second_worker("claim_smelts", worker_id="two")["smelts"] == []
    assert second_worker("claim_smelts", worker_id="two")["smelts"] == []
    assert new["attempt"] > old["attempt"]


def test_claim_repeated_while_the_first_call_still_runs_returns_the_same_claims(
    database: Database,
    client: Caller,
    worker: Caller,
    second_worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
) -> None:
    """The worker gave up waiting for its first call, which the database carries out nevertheless."""
    for _ in range(3):
        submitted(database, client)
    token = str(uuid4())
    with worker.open_transaction():
        [first] = worker.call_in_transaction("claim_smelts", worker_id="one", claim_token=token)["smelts"]
        repeated = blocked_call(second_worker, "claim_smelts", worker_id="one", claim_token=token)
    [again] = repeated.result()["smelts"]
    assert (again["id"], again["attempt"]) == (first["id"], first["attempt"])
    assert database.value("select count(*) from smelt.leases") == 1


def test_suspect_is_claimed_by_one_of_two_workers_and_reserved_by_one(
    database: Database, client: Caller, worker: Caller, second_worker: Caller
) -> None:
    submitted(database, client)
    stopped = claimed(worker, "stopped")
    worker("report_smelt_progress", smelt_id=stopped["id"], attempt=stopped["attempt"], risk="decode")
    for busy in ("busy one", "busy two"):
        submitted(database, client)
        claimed(worker, busy)
    waiting = {submitted(database, client)["id"] for _ in range(2)}
    database.run(
        "update smelt.leases set expires_at = now() - interval '1 s' where worker_id = 'stopped'",
    )
    with worker.open_transaction():
        assert worker.call_in_transaction("claim_smelts", worker_id="busy one")["smelts"] == []
        [other] = second_worker("claim_smelts", worker_id="busy two")["smelts"]
        assert other["id"] in waiting
        # It is locked, so that also a worker without smelts claims another one.
        [other] = second_worker("claim_smelts", worker_id="idle")["smelts"]
        assert other["id"] in waiting
    with worker.open_transaction():
        [suspect] = worker.call_in_transaction("claim_smelts", worker_id="idle one")["smelts"]
        assert (suspect["id"], suspect["suspect"]) == (stopped["id"], "decode")
        assert second_worker("claim_smelts", worker_id="idle two")["smelts"] == []
    assert second_worker("claim_smelts", worker_id="idle two")["smelts"] == []


def test_lease_that_expired_unclaimed_is_renewed_by_a_report(
    database: Database, client: Caller, worker: Caller, second_worker: Caller
) -> None:
    """A report renews a lease that has expired and was not claimed since."""
    submitted(database, client)
    claim = claimed(worker)
    expire_leases(database)
    with worker.open_transaction():
        report = worker.call_in_transaction(
            "report_smelt_progress", smelt_id=claim["id"], attempt=claim["attempt"], status="validating"
        )
        assert report["verdict"] == "go_on"
        assert second_worker("claim_smelts", worker_id="two")["smelts"] == []
    assert second_worker("claim_smelts", worker_id="two")["smelts"] == []


def test_claim_skips_a_lease_that_is_being_renewed(
    database: Database, client: Caller, worker: Caller, second_worker: Caller
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    expire_leases(database)
    leases = [{"smelt_id": claim["id"], "attempt": claim["attempt"]}]
    with worker.open_transaction():
        worker.call_in_transaction("renew_smelt_leases", worker_id="one", leases=leases)
        assert second_worker("claim_smelts", worker_id="two")["smelts"] == []
    assert second_worker("claim_smelts", worker_id="two")["smelts"] == []
    assert worker("renew_smelt_leases", worker_id="one", leases=leases)["leases"][0]["verdict"] == "go_on"


@pytest.mark.parametrize("call", ["report_smelt_progress", "complete_smelt", "fail_smelt", "release_smelt"])
def test_fencing_returns_lost_to_a_call_that_waited_for_another_claim(
    database: Database,
    client: Caller,
    worker: Caller,
    second_worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
    call: str,
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    expire_leases(database)
    arguments: dict[str, object] = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
    arguments |= {"complete_smelt": {"results": results_for(claim)}, "fail_smelt": {"error_code": "cancelled"}}.get(
        call, {}
    )
    with second_worker.open_transaction():
        [new] = second_worker.call_in_transaction("claim_smelts", worker_id="two")["smelts"]
        late = blocked_call(worker, call, **arguments)
    assert late.result()["verdict"] == "lost"
    assert database.rows("select status::text, attempt from public.smelts") == [("pending", new["attempt"])]


def test_cancel_after_complete_returns_the_completion(
    database: Database, client: Caller, worker: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    with worker.open_transaction():
        worker.call_in_transaction(
            "complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim)
        )
        cancel = blocked_call(client, "cancel_smelt", smelt_id=claim["id"])
    assert (cancel.result()["status"], cancel.result()["outcome"]) == ("completed", "complete")
    assert database.value("select count(*) from smelt.outbox where topic like 'smelt:%%'") == 1


@pytest.mark.parametrize("settle", ["complete_smelt", "fail_smelt", "release_smelt"])
def test_settle_after_cancel_returns_the_cancellation(
    database: Database,
    client: Caller,
    worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
    settle: str,
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    arguments: dict[str, object] = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
    arguments |= {"complete_smelt": {"results": []}, "fail_smelt": {"error_code": "internal_error"}}.get(settle, {})
    with client.open_transaction():
        client.call_in_transaction("cancel_smelt", smelt_id=claim["id"])
        late = blocked_call(worker, settle, **arguments)
    settled = late.result()
    assert (settled["verdict"], settled["status"], settled["error_code"]) == ("settled", "failed", "cancelled")
    assert database.value("select count(*) from smelt.outbox where topic like 'smelt:%%'") == 1
    assert database.value("select count(*) from public.smelt_results") == 0


def test_idempotent_complete_called_twice_at_once_settles_once(
    database: Database,
    client: Caller,
    worker: Caller,
    second_worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    arguments = {"smelt_id": claim["id"], "attempt": claim["attempt"], "results": results_for(claim)}
    with worker.open_transaction():
        settled = worker.call_in_transaction("complete_smelt", **arguments)
        repeat = blocked_call(second_worker, "complete_smelt", **arguments)
    assert repeat.result() == settled
    assert database.value("select count(*) from public.smelt_results") == 1


def test_cancel_keeps_the_progress_reported_just_before(
    database: Database, client: Caller, worker: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    with worker.open_transaction():
        report = worker.call_in_transaction(
            "report_smelt_progress",
            smelt_id=claim["id"],
            attempt=claim["attempt"],
            status="transcribing",
            percentage=42,
        )
        cancel = blocked_call(client, "cancel_smelt", smelt_id=claim["id"])
    assert cancel.result()["progress"]["percentage"] == 42
    assert cancel.result()["seq"] == report["event"]["seq"] + 1


def test_batch_counts_are_right_when_two_smelts_settle_at_once(
    database: Database,
    client: Caller,
    worker: Caller,
    second_worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
) -> None:
    batch = client("create_smelt_batch")
    for _ in range(2):
        submitted(database, client, batch_id=batch["id"])
    one, two = worker("claim_smelts", worker_id="w", max_count=2)["smelts"]
    with worker.open_transaction():
        worker.call_in_transaction(
            "complete_smelt", smelt_id=one["id"], attempt=one["attempt"], results=results_for(one)
        )
        late = blocked_call(
            second_worker, "fail_smelt", smelt_id=two["id"], attempt=two["attempt"], error_code="internal_error"
        )
    assert late.result()["verdict"] == "settled"
    [payload] = [
        payload for (payload,) in database.rows("select payload from smelt.outbox where topic like 'smelt-batch:%%'")
    ]
    assert (payload["total"], payload["completed"], payload["failed"]) == (2, 1, 1)
    assert (payload["status"], payload["progress"]) == ("completed", 100)
    assert payload["seq"] == database.value("select seq from public.smelt_batches")


def test_claim_that_fails_smelts_of_shared_batches_does_not_deadlock(
    database: Database,
    client: Caller,
    worker: Caller,
    second_worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
) -> None:
    database.run("update smelt.limits set max_failures = 1")
    batches = [client("create_smelt_batch")["id"] for _ in range(2)]
    for index in range(4):
        submitted(database, client, batch_id=batches[index % 2])
    for claim in worker("claim_smelts", worker_id="expired", max_count=4)["smelts"]:
        worker("report_smelt_progress", smelt_id=claim["id"], attempt=claim["attempt"], risk="model")
    # Due in the order of their creation, so that each claim below gets a smelt of both batches.
    database.run(
        "update smelt.leases as l set expires_at = s.created_at from public.smelts as s where s.id = l.smelt_id"
    )
    with worker.open_transaction():
        assert worker.call_in_transaction("claim_smelts", worker_id="one", max_count=2)["smelts"] == []
        late = blocked_call(second_worker, "claim_smelts", worker_id="two", max_count=4)
    assert late.result()["smelts"] == []
    assert database.rows("select total, failed, status::text from public.smelt_batches") == [(2, 2, "failed")] * 2


def test_idempotent_create_sent_twice_at_once_makes_one_smelt(
    client: Caller, second_client: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    arguments: dict[str, object] = {"files": FILES, "idempotency_key": "monday"}
    with client.open_transaction():
        created = client.call_in_transaction("create_smelt", **arguments)
        repeat = blocked_call(second_client, "create_smelt", **arguments)
    assert repeat.result() == created


def test_limit_of_open_smelts_holds_for_concurrent_creates(
    database: Database, client: Caller, second_client: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    database.run("update smelt.limits set max_open = 1")
    with client.open_transaction():
        client.call_in_transaction("create_smelt", files=FILES)
        late = blocked_call(second_client, "create_smelt", files=FILES)
    with pytest.raises(psycopg.Error) as rejected:
        late.result()
    assert rejection(rejected.value) == ("PT429", "too_many_open")


def test_idempotent_submit_sent_twice_at_once_submits_once(
    database: Database, client: Caller, second_client: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    created = client("create_smelt", files=FILES)
    upload(database, created)
    with client.open_transaction():
        state = client.call_in_transaction("submit_smelt", smelt_id=created["id"])
        late = blocked_call(second_client, "submit_smelt", smelt_id=created["id"])
    assert late.result()["seq"] == state["seq"]


def test_retry_that_waited_for_the_purge_fails_with_audio_expired(
    database: Database, client: Caller, worker: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    smelt_id = submitted(database, client)["id"]
    client("cancel_smelt", smelt_id=smelt_id)
    database.run("update public.smelts set completed_at = now() - interval '25 h'")
    with worker.open_transaction():
        assert worker.call_in_transaction("list_expired_smelts", worker_id="w")["smelts"] == [smelt_id]
        late = blocked_call(client, "retry_smelt", smelt_id=smelt_id)
    with pytest.raises(psycopg.Error) as rejected:
        late.result()
    assert rejection(rejected.value) == ("PT410", "audio_expired")


def test_purge_skips_a_smelt_that_is_being_retried(database: Database, client: Caller, worker: Caller) -> None:
    smelt_id = submitted(database, client)["id"]
    client("cancel_smelt", smelt_id=smelt_id)
    database.run("update public.smelts set completed_at = now() - interval '25 h'")
    with client.open_transaction():
        client.call_in_transaction("retry_smelt", smelt_id=smelt_id)
        assert worker("list_expired_smelts", worker_id="w") == {"objects": [], "smelts": []}
    assert worker("list_expired_smelts", worker_id="w") == {"objects": [], "smelts": []}
    assert claimed(worker)["id"] == smelt_id


def test_outbox_message_is_claimed_by_one_of_two_workers(
    database: Database, client: Caller, worker: Caller, second_worker: Caller
) -> None:
    smelt_id = submitted(database, client)["id"]
    client("cancel_smelt", smelt_id=smelt_id)
    with worker.open_transaction():
        assert len(worker.call_in_transaction("claim_smelt_outbox", worker_id="one", smelt_id=smelt_id)) == 2
        assert second_worker("claim_smelt_outbox", worker_id="two", smelt_id=smelt_id) == []
        # A retry does not wait for a message that is being sent.
        assert client("retry_smelt", smelt_id=smelt_id)["run"] == 2
    assert second_worker("claim_smelt_outbox", worker_id="two", smelt_id=smelt_id) == []


def test_delete_makes_a_waiting_report_return_lost(
    database: Database, client: Caller, worker: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    with client.open_transaction():
        client.call_in_transaction("delete_smelt", smelt_id=claim["id"])
        late = blocked_call(
            worker, "report_smelt_progress", smelt_id=claim["id"], attempt=claim["attempt"], status="decoding"
        )
    assert late.result() == {"verdict": "lost", "event": None}


def test_snapshot_never_contains_uncommitted_state(database: Database, client: Caller, worker: Caller) -> None:
    created = submitted(database, client)
    claim = claimed(worker)
    before = client("get_smelt", smelt_id=created["id"])
    with worker.open_transaction():
        worker.call_in_transaction(
            "complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim)
        )
        assert client("get_smelt", smelt_id=created["id"]) | {"eta_seconds": None} == before
        assert client("get_smelt", smelt_id=str(created["id"]), after_seq=before["seq"]).keys() == {
            "id",
            "seq",
            "next_poll_s",
            "worker_online",
        }
    assert client("get_smelt", smelt_id=created["id"])["status"] == "completed"


def test_fencing_returns_lost_for_an_unknown_smelt(worker: Caller) -> None:
    unknown = str(uuid4())
    assert worker("release_smelt", smelt_id=unknown, attempt=1) == {"verdict": "lost"}
    assert worker("report_smelt_progress", smelt_id=unknown, attempt=1)["verdict"] == "lost"


def ranks(database: Database) -> list[int]:
    """Return the ranks of all due smelts."""
    return [rank for (rank,) in database.rows("select queue_rank from public.smelts where queue_rank > 0 order by 1")]


def delayed(database: Database, client: Caller, worker: Caller) -> str:
    """Let a smelt of a client fail for the time being, and its delay pass; return its id."""
    submitted(database, client)
    claim = claimed(worker)
    worker("fail_smelt", smelt_id=claim["id"], attempt=claim["attempt"], error_code="connection_lost", transient=True)
    database.run("update public.smelts set claimable_at = clock_timestamp() where id = %s", claim["id"])
    return str(claim["id"])


def test_rank_is_distinct_for_concurrent_creates_of_one_owner(
    database: Database, visitor: Caller, blocked_call: Callable[..., "Future[Any]"]
) -> None:
    """Visitors are one owner, and the limit of open smelts does not make two addresses wait for each other."""
    other = database.caller(anon("192.0.2.2"))
    with visitor.open_transaction():
        visitor.call_in_transaction("create_smelt", text_input="first")
        late = blocked_call(other, "create_smelt", text_input="second")
    assert late.result()
    assert ranks(database) == [1, 2]


def test_rank_of_another_owner_does_not_wait(database: Database, client: Caller) -> None:
    other = database.caller(user(database.add_user()))
    with client.open_transaction():
        client.call_in_transaction("create_smelt", text_input="first")
        other("create_smelt", text_input="second")
    assert ranks(database) == [1, 1]


def test_rank_of_a_delayed_smelt_is_left_to_the_next_claim_while_its_owner_creates(
    database: Database, client: Caller, second_client: Caller, worker: Caller
) -> None:
    smelt_id = delayed(database, client, worker)
    with second_client.open_transaction():
        second_client.call_in_transaction("create_smelt", text_input="text")
        response = worker("claim_smelts", worker_id="worker", max_count=2)
        assert (response["smelts"], response["next_due_in_s"]) == ([], 0)
    assert len(worker("claim_smelts", worker_id="worker", max_count=2)["smelts"]) == 2
    assert database.rows("select queue_rank from smelt.leases order by smelt_id <> %s", smelt_id) == [(2,), (1,)]


def test_rank_is_distinct_for_a_create_during_a_claim_that_ranks_delayed_smelts(
    database: Database,
    client: Caller,
    second_client: Caller,
    worker: Caller,
    second_worker: Caller,
    blocked_call: Callable[..., "Future[Any]"],
) -> None:
    delayed(database, client, worker)
    with worker.open_transaction():
        assert len(worker.call_in_transaction("claim_smelts", worker_id="one")["smelts"]) == 1
        # The locked smelt is left to the first claim.
        assert second_worker("claim_smelts", worker_id="two")["smelts"] == []
        late = blocked_call(second_client, "create_smelt", text_input="text")
    assert late.result()
    assert (database.value("select queue_rank from smelt.leases"), ranks(database)) == (1, [2])


def test_release_during_a_claim_keeps_its_rank_for_the_next_one(
    database: Database, client: Caller, worker: Caller, second_worker: Caller
) -> None:
    released, other = (submitted(database, client)["id"] for _ in range(2))
    claim = claimed(worker)
    assert claim["id"] == released
    with worker.open_transaction():
        worker.call_in_transaction("release_smelt", smelt_id=released, attempt=claim["attempt"])
        [taken] = second_worker("claim_smelts", worker_id="two")["smelts"]
        assert taken["id"] == other
    assert ranks(database) == [1]
    assert claimed(second_worker, "two")["id"] == released
