"""Races about webhooks: one session keeps its transaction open until the other waits for its lock, or skips it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.integration.database.db_bulk import pages_read
from tests.integration.database.db_calls import Caller, Database, service, submitted


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def second_worker(database: Database) -> Caller:
    """Another worker, in another session."""
    return database.caller(service())


@pytest.fixture
def webhook(client: Caller) -> dict[str, Any]:
    """A webhook of the client."""
    created: dict[str, Any] = client("create_smelt_webhook", url="https://hook.example/")
    return created


def ended(database: Database, client: Caller) -> None:
    """End a smelt of the client."""
    client("cancel_smelt", smelt_id=submitted(database, client)["id"])


def test_webhook_that_is_deleted_meanwhile_does_not_fail_the_end_of_a_smelt(
    database: Database, client: Caller, worker: Caller, pool: ThreadPoolExecutor, webhook: dict[str, Any]
) -> None:
    smelt_id = submitted(database, client)["id"]
    with worker.open_transaction():
        worker.call_in_transaction("delete_smelt_webhook", webhook_id=webhook["id"])
        ending = pool.submit(client, "cancel_smelt", smelt_id=smelt_id)
        database.await_blocked(client.session)
    assert ending.result(20)["status"] == "failed"
    assert database.value("select count(*) from smelt.webhook_deliveries") == 0


def test_webhook_that_is_claimed_does_not_hold_up_the_end_of_a_smelt(
    database: Database, client: Caller, worker: Caller, webhook: dict[str, Any]
) -> None:
    ended(database, client)
    with worker.open_transaction():
        [claim] = worker.call_in_transaction("claim_smelt_webhook_deliveries", worker_id="one")
        assert claim["webhook_id"] == webhook["id"]
        ended(database, client)
    assert database.value("select count(*) from smelt.webhook_deliveries") == 2


def test_webhook_is_claimed_by_one_of_two_workers(
    database: Database, client: Caller, worker: Caller, second_worker: Caller, webhook: dict[str, Any]
) -> None:
    ended(database, client)
    ended(database, client)
    with worker.open_transaction():
        [claim] = worker.call_in_transaction("claim_smelt_webhook_deliveries", worker_id="one")
        assert second_worker("claim_smelt_webhook_deliveries", worker_id="two") == [], webhook
    assert second_worker("claim_smelt_webhook_deliveries", worker_id="two") == []
    worker("settle_smelt_webhook_delivery", delivery_id=claim["id"], attempt=1, status_code=200)
    [other] = second_worker("claim_smelt_webhook_deliveries", worker_id="two")
    assert other["id"] != claim["id"]


def test_webhook_claim_does_not_read_the_backlog_of_an_endpoint(
    database: Database, client: Caller, worker: Caller, webhook: dict[str, Any]
) -> None:
    claim = "select smelt.claim_smelt_webhook_deliveries('worker', 4, 30)"
    ended(database, client)
    pages_read(database, claim, warm_calls=0)  # Later calls of the session do not read the catalog.
    pages: list[int] = []
    for count in (100, 3_000):
        database.run(
            "insert into smelt.webhook_deliveries (webhook_id, event, payload)"
            " select %s, 'smelt.failed', %s from generate_series(1, %s)",
            webhook["id"],
            Jsonb({"data": "x" * 200}),
            count,
        )
        pages.append(pages_read(database, claim, warm_calls=0))
    assert pages[1] < 1.5 * pages[0] + 100, pages
