"""Claims are fair to a user behind a thousand smelts of another, and read few pages, however many smelts there are."""

import pytest

from tests.integration.database.db_bulk import insert_ended, insert_waiting, pages_read
from tests.integration.database.db_calls import Caller, Database, anon, user

CLAIM = "select smelt.claim_smelts('worker', null, 4, 30, true, 'host', '{small}')"
FEW_PAGES = 600


def claimed(worker: Caller, count: int) -> list[str]:
    """Claim up to `count` smelts; return their ids."""
    return [claim["id"] for claim in worker("claim_smelts", worker_id="worker", max_count=count)["smelts"]]


def test_claim_is_fair_to_a_user_behind_a_thousand_smelts_of_another(database: Database, worker: Caller) -> None:
    many = insert_waiting(database, [database.add_user()], 1000)
    assert claimed(worker, 3) == many[:3]
    other = database.caller(user(database.add_user()))
    first, second = (other("create_smelt", text_input=text)["id"] for text in ("The first.", "The second."))
    assert other("get_smelt", smelt_id=first)["queue_position"] == 2
    assert other("get_smelt", smelt_id=second)["queue_position"] == 4
    assert claimed(worker, 6) == [many[3], first, many[4], second, many[5], many[6]]


def test_claim_is_fair_to_a_user_before_a_crowd_of_anonymous_sign_ins(database: Database, worker: Caller) -> None:
    crowd = []
    for number in range(60):
        role = user(database.add_user(), is_anonymous=True) if number % 2 else anon(f"192.0.2.{number}")
        guest = database.caller(role)
        crowd.append(guest("create_smelt", text_input="One of a crowd.")["id"])
        guest.session.close()
    member = database.caller(user(database.add_user()))
    own = member("create_smelt", text_input="A note.")["id"]
    assert member("get_smelt", smelt_id=own)["queue_position"] == 2
    assert claimed(worker, 3) == [crowd[0], own, crowd[1]]


@pytest.mark.parametrize("is_analyzed", [True, False])
def test_claim_reads_few_pages_of_a_long_queue(database: Database, is_analyzed: bool) -> None:
    users: list[str | None] = [None, *(database.add_user() for _ in range(20))]
    insert_ended(database, users[1], 10_000)
    insert_waiting(database, users, 10_000)
    if is_analyzed:
        database.run("analyze")
    assert pages_read(database, CLAIM) < FEW_PAGES
    # Also with smelts that the worker leaves to another host, and with expired leases.
    database.run("insert into smelt.workers (worker_id, host, info) values ('other', 'other', '{}')")
    database.rows("select smelt.claim_smelts('stopped', null, 20, 30, true, 'host', '{small}')")
    database.run("update smelt.leases set expires_at = now() - interval '1 s'")
    assert pages_read(database, CLAIM) < FEW_PAGES
