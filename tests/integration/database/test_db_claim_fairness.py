"""Claims are fair to a user behind a thousand smelts of another, and read few pages."""

from db_calls import Caller, Database, user

OPEN = 1000
ENDED = 5000


def create_many(database: Database, owner: str) -> set[str]:
    """Create more open smelts of a user than the limit allows, as an operator may; return their ids."""
    first = database.caller(user(owner))("create_smelt", text_input="One of many.")["id"]
    copies = database.rows(
        """
        with copies as (
            insert into public.smelts
            select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid()))).*
            from public.smelts as s, generate_series(2, %s) where s.id = %s
            returning id
        ), files as (
            insert into public.smelt_files
            select (jsonb_populate_record(f, jsonb_build_object('id', gen_random_uuid(), 'smelt_id', c.id))).*
            from public.smelt_files as f, copies as c where f.smelt_id = %s
        )
        insert into smelt.requests
        select (jsonb_populate_record(r, jsonb_build_object('smelt_id', c.id))).*
        from smelt.requests as r, copies as c where r.smelt_id = %s
        returning smelt_id::text
        """,
        *(OPEN, first, first, first),
    )
    return {first, *(smelt for (smelt,) in copies)}


def insert_ended(database: Database, cancelled: str) -> None:
    """Insert thousands of ended smelts, copies of a cancelled one."""
    database.run(
        "insert into public.smelts select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid()))).*"
        " from public.smelts as s, generate_series(1, %s) where s.id = %s",
        *(ENDED, cancelled),
    )


def claimed(worker: Caller, count: int) -> list[str]:
    """Claim up to `count` smelts; return their ids."""
    return [claim["id"] for claim in worker("claim_smelts", worker_id="worker", max_count=count)["smelts"]]


def pages_of_a_claim(database: Database) -> int:
    """Return the number of pages that a claim reads, after earlier claims of its session."""
    database.run("vacuum analyze public.smelts")
    claim = "select smelt.claim_smelts('worker', null, 1, 30, true, 'host')"
    with database.owner.transaction(force_rollback=True):
        for _ in range(3):
            database.value(claim)
        # As autovacuum soon does.
        database.run("analyze smelt.leases")
        for _ in range(3):
            database.value(claim)
        [plan] = database.value(f"explain (analyze, buffers, format json) {claim}")
    pages: int = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return pages


def pages_of_all(database: Database) -> int:
    """Return the number of pages of the table of smelts."""
    pages: int = database.value("select pg_relation_size('public.smelts') / current_setting('block_size')::integer")
    return pages


def test_claim_is_fair_to_a_user_behind_a_thousand_smelts_of_another(database: Database, worker: Caller) -> None:
    many = create_many(database, database.add_user())
    running = claimed(worker, 3)
    other = database.caller(user(database.add_user()))
    first, second = (other("create_smelt", text_input=text)["id"] for text in ("The first.", "The second."))
    assert other("get_smelt", smelt_id=first)["queue_position"] == 1
    # Three of the many are running, so that both smelts of the other user precede the fourth.
    assert claimed(worker, 4)[:2] == [first, second]
    assert set(running) <= many
    # Each pending smelt is read about once, not once for each other.
    assert pages_of_a_claim(database) < 10 * pages_of_all(database)


def test_claim_reads_no_pages_of_ended_smelts(database: Database) -> None:
    other = database.caller(user(database.add_user()))
    for number in range(10):
        smelt = other("create_smelt", text_input=f"Note {number}.")["id"]
    other("cancel_smelt", smelt_id=smelt)
    before = pages_of_a_claim(database)
    insert_ended(database, smelt)
    # Deeper indexes cost a few pages more; a scan would cost all pages of the table.
    assert pages_of_a_claim(database) < before + pages_of_all(database)
