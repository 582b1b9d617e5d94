"""The Postgres of a folder: its data made or brought up to date, and the server over it."""

from contextlib import AsyncExitStack
from pathlib import Path

import psycopg

from smelt.local import migrations, ports, schemas
from smelt.local.account import database_account
from smelt.local.migrations import ProjectFiles
from smelt.local.paths import StackPaths
from smelt.local.postgres import SUPERUSER, Postgres, PostgresOptions, check_data_version, clear_stale_postmaster
from smelt.local.restart import attempts
from smelt.local.template import Templates


async def start_postgres(
    places: StackPaths, project: ProjectFiles, cache: Path, exits: AsyncExitStack, *, db_port: int, durable: bool
) -> Postgres:
    """Start a server with all of the project's migrations until `exits` are taken, or raise `LocalError`."""
    account = database_account()
    check_data_version(places.data, account)
    await clear_stale_postmaster(places.data, account)
    fresh = not places.data.exists()
    if fresh:
        await Templates(folder=cache / "templates", account=account).copy(project, places.data)
    async for attempt in attempts():
        with attempt:
            options = PostgresOptions(
                data=places.data,
                sockets=places.sockets,
                # Any free port may be somebody else's by the time Postgres takes it; then the next one will do.
                port=ports.choose(db_port, "--db-port"),
                log=places.log("postgres"),
                account=account,
                durable=durable,
            )
            postgres = Postgres(options)
            exits.push_async_callback(postgres.stop)
            await postgres.start()
    if not fresh:
        async with await psycopg.AsyncConnection.connect(postgres.dsn(SUPERUSER), autocommit=True) as connection:
            await schemas.bring_up_to_date(connection)
        async with await psycopg.AsyncConnection.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            await migrations.apply(connection, project.migrations)
    return postgres
