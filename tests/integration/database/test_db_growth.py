"""Calls read as many pages with ten times as many waiting and ended smelts."""

import pytest
from psycopg.types.json import Jsonb

from tests.integration.database.db_bulk import insert_ended, insert_kept, insert_waiting, pages_read
from tests.integration.database.db_calls import Database

# More than the thousand waiting smelts that positions and health count.
COUNTS = (1_500, 15_000)


@pytest.mark.parametrize("is_analyzed", [True, False])
def test_growth_of_queue_and_history_costs_no_call_more_pages(database: Database, is_analyzed: bool) -> None:
    database.run("update smelt.limits set anonymous_max_open = 1000000")
    users: list[str | None] = [None, *(database.add_user() for _ in range(20))]
    pages: dict[str, list[int]] = {}
    for count in COUNTS:
        database.run("delete from public.smelts")
        database.run("vacuum public.smelts, public.smelt_files, smelt.requests")
        insert_ended(database, None, count, is_anonymous=True)
        insert_ended(database, users[1], count)
        # A model that no worker has, the others in front and behind it in the index, and one that none requests.
        insert_waiting(database, users, count, model="medium")
        waiting = insert_waiting(database, users, count)
        named = insert_waiting(database, users, 20, model="small")
        insert_kept(database, users[1], count)
        if is_analyzed:
            database.run("analyze")
        # The last ones of the visitors, which every caller may read.
        last = waiting[:: len(users)][-70:]
        calls: dict[str, tuple[str, tuple[object, ...]]] = {
            "claim": ("select smelt.claim_smelts('worker', null, 10, 30, true, 'host', '{small}')", ()),
            "claim of no model": ("select smelt.claim_smelts('worker', null, 10, 30, true, 'host', null)", ()),
            "claim of many models": (
                "select smelt.claim_smelts('worker', null, 10, 30, true, 'host', '{a,large,n,small,z}')",
                (),
            ),
            "heartbeat": (
                """select smelt.heartbeat_smelt_worker('worker', '{"models": ["small"]}', false, 'host')""",
                (),
            ),
            "get_smelt of a model": ("select smelt.get_smelt(%s, 1, null, false)", (named[0],)),
            "create of a model": (
                """
                select public.create_smelt(
                    '[{"filename": "a.mp3", "size_bytes": 1}]', options => '{"model": "small"}'
                )
                """,
                (),
            ),
            "rank of a model": ("select smelt.next_rank(%s, 'small')", (users[1],)),
            "rank of a model that none has": ("select smelt.next_rank(%s, 'medium')", (users[1],)),
            "get_smelt": ("select smelt.get_smelt(%s, 1, null, false)", (last[-1],)),
            "get_smelts": ("select smelt.get_smelts(%s)", (Jsonb([{"id": smelt, "after_seq": 1} for smelt in last]),)),
            "health": ("select smelt.get_smelt_health()", ()),
            "create": ("select public.create_smelt(text_input => 'text')", ()),
            "cancel": ("select smelt.settle_smelt(%s, 'cancelled', false)", (waiting[0],)),
            "list_expired": ("select smelt.list_expired_smelts('worker', 100, 30)", ()),
        }
        for name, (statement, values) in calls.items():
            warm_calls = 0 if name == "cancel" else 3
            pages.setdefault(name, []).append(pages_read(database, statement, *values, warm_calls=warm_calls))
    # Deeper indexes cost some pages; a scan of the queue, or of what has ended, costs hundreds.
    assert {name: few_many for name, few_many in pages.items() if few_many[1] > 1.5 * few_many[0] + 100} == {}
