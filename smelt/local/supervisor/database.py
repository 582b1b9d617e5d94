"""Starts Postgres on the data folder of a stack, which it creates or upgrades."""

from contextlib import AsyncExitStack
from pathlib import Path

import psycopg

from smelt.local.account import database_account
from smelt.local.database import migrations, schemas
from smelt.local.database.postgres import (
    SUPERUSER,
    Postgres,
    PostgresOptions,
    check_data_version,
    clear_stale_postmaster,
)
from smelt.local.database.template import Templates
from smelt.local.paths import StackPaths
from smelt.local.processes import ports
from smelt.local.project import ProjectFiles
from smelt.local.supervisor.restart import attempts


async def start_postgres(
    paths: StackPaths, project: ProjectFiles, cache: Path, exit_stack: AsyncExitStack, *, db_port: int, durable: bool
) -> Postgres:
    """Start a server with the project's migrations, and stop it when `exit_stack` closes; raise `LocalError`."""
    account = database_account()
    check_data_version(paths.data, account)
    await clear_stale_postmaster(paths.data, account)
    fresh = not paths.data.exists()
    if fresh:
        await Templates(folder=cache / "templates", account=account).copy(project, paths.data)
    async for attempt in attempts():
        with attempt:
            options = PostgresOptions(
                data=paths.data,
                sockets=paths.sockets,
                # Another process may take the free port first; the next attempt chooses another one.
                port=ports.choose(db_port, "--db-port"),
                log=paths.log("postgres"),
                account=account,
                durable=durable,
            )
            postgres = Postgres(options)
            exit_stack.push_async_callback(postgres.stop)
            await postgres.start()
    if not fresh:
        async with await psycopg.AsyncConnection.connect(postgres.dsn(SUPERUSER), autocommit=True) as connection:
            await schemas.upgrade(connection)
        async with await psycopg.AsyncConnection.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            await migrations.apply(connection, project.migrations)
    return postgres
