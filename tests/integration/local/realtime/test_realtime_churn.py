"""Many clients connect and leave during faults of sockets, gateway and database: no message and no resource is lost."""

from contextlib import suppress

import psycopg

from smelt.local.database.postgres import SUPERUSER, Postgres
from tests.harness.waiting import until
from tests.integration.local.realtime.churn import churn
from tests.integration.local.realtime.realtime_server import FIXTURES
from tests.integration.local.realtime.server_process import running_in_process


async def test_churn_under_faults_loses_no_acknowledged_message(realtime_postgres: Postgres) -> None:
    async with running_in_process(realtime_postgres, max_events_per_s=None, max_joins_per_s=None) as (server, process):
        await server.sql(FIXTURES.read_text())
        before = {**await process.inspect(), "lent": 0}
        record, error_summary = await churn(server, process, clients=24, rounds=2, messages=6)
        assert len(error_summary) == 3, error_summary
        assert len(record.expected_deliveries()) > 100
        assert record.lost() == []
        assert record.duplicates() == []

        async def clean() -> bool:
            nonlocal after
            after = {**await process.inspect(), "resident_kb": before["resident_kb"]}
            return after == before

        after: dict[str, int] = {}
        with suppress(TimeoutError):
            await until(clean)
        assert after == before

        async def one_slot() -> bool:
            async with await psycopg.AsyncConnection.connect(realtime_postgres.dsn(SUPERUSER)) as connection:
                slots = await (await connection.execute("select active from pg_replication_slots")).fetchall()
                return slots == [(True,)]

        await until(one_slot)
