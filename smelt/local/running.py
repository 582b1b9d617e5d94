"""Bringing a stack up, keeping it up, and taking it down in the reverse order."""

import asyncio
import importlib
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Final, Protocol

import psycopg
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from smelt.local import lock, migrations, ports, state
from smelt.local.account import database_account, remove
from smelt.local.config import GatewayConfig
from smelt.local.errors import LocalUnavailable
from smelt.local.keys import Keys
from smelt.local.migrations import Project
from smelt.local.places import Places
from smelt.local.postgres import SUPERUSER, Postgres, PostgresOptions, clear_leftovers, refuse_foreign_version
from smelt.local.postgrest import Postgrest, PostgrestOptions, ensure_program
from smelt.local.serving import GatewayServer
from smelt.local.template import Templates

logger = logging.getLogger(__name__)

START_ATTEMPTS: Final = 5
RESTART_ATTEMPTS: Final = 8


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What to run, where; port 0 is any free one, `throw_away` is for data that nobody wants to keep."""

    folder: Path
    project: Path
    cache: Path
    api_port: int
    db_port: int
    postgrest: Path | None
    throw_away: bool


class Service(Protocol):
    """What is to run as long as the stack does."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def start(self) -> None:
        """Start it and wait until it works."""

    async def wait(self) -> object:
        """Wait until it ends by itself."""

    async def stop(self) -> None:
        """End it."""


async def run(options: StackOptions, announce: Callable[[state.StackState], None]) -> None:
    """Run a stack until cancelled, then leave nothing running; raise `LocalError` when it can't be kept up."""
    places = Places(options.folder).make()
    async with AsyncExitStack() as exits:
        exits.enter_context(lock.hold(places.lock))
        if options.throw_away:
            exits.callback(remove, places.folder)
        exits.callback(state.forget, places)
        exits.callback(remove, places.sockets)
        project = Project.read(options.project)
        # It takes a moment to import, while others start.
        loading = asyncio.create_task(asyncio.to_thread(importlib.import_module, "smelt.local.gateway"))
        listener = exits.enter_context(ports.listen(options.api_port, "--api-port"))
        program = await ensure_program(options.cache, options.postgrest)
        postgres = await _start_postgres(options, places, project, exits)
        postgrest = await _start_postgrest(program, postgres, places, project, exits)
        config = _gateway_config(listener, postgrest, postgres, places, project)
        await loading
        gateway = await _start_gateway(config, listener, exits)
        running = state.StackState(
            pid=os.getpid(),
            project=str(options.project),
            api_url=config.api_url,
            db_url=f"postgresql://postgres:postgres@{ports.HOST}:{postgres.options.port}/postgres",
            admin_dsn=config.admin_dsn,
        )
        state.write(places, running)
        announce(running)
        await _keep_up(postgres, postgrest, gateway)


async def _start_postgres(options: StackOptions, places: Places, project: Project, exits: AsyncExitStack) -> Postgres:
    account = database_account()
    refuse_foreign_version(places.data)
    await clear_leftovers(places.data)
    fresh = not places.data.exists()
    if fresh:
        await Templates(folder=options.cache / "templates", account=account).copy(project, places.data)
    async for attempt in _attempts(START_ATTEMPTS):
        with attempt:
            server = PostgresOptions(
                data=places.data,
                sockets=places.sockets,
                # Any free port may be somebody else's by the time Postgres takes it; then the next one will do.
                port=ports.choose(options.db_port, "--db-port"),
                log=places.log("postgres"),
                account=account,
                durable=not options.throw_away,
            )
            postgres = Postgres(server)
            exits.push_async_callback(postgres.stop)
            await postgres.start()
    if not fresh:
        async with await psycopg.AsyncConnection.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            await migrations.apply(connection, project.migrations)
    return postgres


async def _start_postgrest(
    program: Path, postgres: Postgres, places: Places, project: Project, exits: AsyncExitStack
) -> Postgrest:
    async for attempt in _attempts(START_ATTEMPTS):
        with attempt:
            server = PostgrestOptions(
                program=program,
                dsn=postgres.dsn("authenticator"),
                port=ports.choose(0, "--api-port"),
                jwt_secret=Keys().jwt_secret,
                project=project,
                log=places.log("postgrest"),
            )
            postgrest = Postgrest(server)
            exits.push_async_callback(postgrest.stop)
            await postgrest.start()
    return postgrest


async def _start_gateway(config: GatewayConfig, listener: socket, exits: AsyncExitStack) -> GatewayServer:
    from smelt.local.gateway import create_app

    app = create_app(config)
    await exits.enter_async_context(app.router.lifespan_context(app))
    gateway = GatewayServer(app, listener)
    exits.push_async_callback(gateway.stop)
    await gateway.start()
    return gateway


def _gateway_config(
    listener: socket, postgrest: Postgrest, postgres: Postgres, places: Places, project: Project
) -> GatewayConfig:
    return GatewayConfig(
        api_url=f"http://{ports.HOST}:{listener.getsockname()[1]}",
        postgrest_url=postgrest.url,
        admin_dsn=postgres.dsn(SUPERUSER),
        authenticator_dsn=postgres.dsn("authenticator"),
        auth_dsn=postgres.dsn("supabase_auth_admin"),
        storage_dsn=postgres.dsn("supabase_storage_admin"),
        keys=Keys(),
        storage_dir=places.storage,
        file_size_limit=project.file_size_limit,
        jwt_expiry_s=project.jwt_expiry_s,
    )


async def _keep_up(postgres: Postgres, postgrest: Postgrest, gateway: GatewayServer) -> None:
    """Start again what ends by itself; raise `LocalUnavailable` when that fails or the gateway ends."""
    keeping = [asyncio.create_task(_keep(service)) for service in (postgres, postgrest)]
    serving = asyncio.create_task(gateway.wait())
    try:
        await asyncio.wait((*keeping, serving), return_when=asyncio.FIRST_COMPLETED)
        for task in keeping:
            if task.done():
                task.result()
        raise LocalUnavailable("the gateway ended; see the log of the supervisor")
    finally:
        for task in (*keeping, serving):
            task.cancel()


async def _keep(service: Service) -> None:
    while True:
        status = await service.wait()
        logger.warning("%s ended by itself (%s); starting it again", service.name, status)
        async for attempt in _attempts(RESTART_ATTEMPTS):
            with attempt:
                await service.start()


def _attempts(count: int) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(LocalUnavailable),
        stop=stop_after_attempt(count),
        wait=wait_exponential_jitter(initial=0.1, max=3.0, jitter=0.1),
        reraise=True,
    )
