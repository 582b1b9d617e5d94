"""Bringing a stack up, keeping it up, and taking it down in the reverse order."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from smelt.local import lock, ports, state
from smelt.local.account import remove
from smelt.local.api import Api, ApiOptions, load_gateway, serve
from smelt.local.cleanup import remove_ephemeral
from smelt.local.errors import LocalTransientError
from smelt.local.migrations import ProjectFiles
from smelt.local.paths import StackPaths
from smelt.local.postgres import SUPERUSER, Postgres
from smelt.local.postgrest import ensure_program
from smelt.local.restart import keep_running
from smelt.local.server import start_postgres


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What to run, where; port 0 is any free one, `ephemeral` is for data that nobody wants to keep."""

    folder: Path
    project: Path
    cache: Path
    api_port: int
    db_port: int
    postgrest: Path | None
    ephemeral: bool


async def run(options: StackOptions, announce: Callable[[state.StackState], None]) -> None:
    """Run a stack until cancelled, then leave nothing running; raise `LocalError` when it can't be kept up."""
    places = StackPaths(options.folder).make()
    async with AsyncExitStack() as exits:
        exits.enter_context(lock.hold(places.lock))
        if options.ephemeral:
            remove_ephemeral(places, exits)
        exits.callback(state.forget, places)
        exits.callback(remove, places.sockets)
        project = ProjectFiles.read(options.project)
        # It takes a moment to import, while others start.
        loading = asyncio.create_task(asyncio.to_thread(load_gateway))
        listener = exits.enter_context(ports.listen(options.api_port, "--api-port"))
        program = await ensure_program(options.cache, options.postgrest)
        postgres = await start_postgres(
            places, project, options.cache, exits, db_port=options.db_port, durable=not options.ephemeral
        )
        api = await serve(
            ApiOptions(
                project=project,
                dsn=postgres.dsn,
                storage=places.storage,
                program=program,
                log=places.log("postgrest"),
            ),
            listener,
            exits,
        )
        await loading
        running = state.StackState(
            pid=os.getpid(),
            project=str(options.project),
            api_url=api.url,
            db_url=postgres.url(),
            admin_dsn=postgres.dsn(SUPERUSER),
        )
        state.write(places, running)
        announce(running)
        await _keep_up(postgres, api)


async def _keep_up(postgres: Postgres, api: Api) -> None:
    """Start again what ends by itself; raise `LocalTransientError` when that fails or the gateway ends."""
    keeping = [asyncio.create_task(keep_running(service)) for service in (postgres, api.postgrest)]
    serving = asyncio.create_task(api.gateway.wait())
    try:
        await asyncio.wait((*keeping, serving), return_when=asyncio.FIRST_COMPLETED)
        for task in keeping:
            if task.done():
                task.result()
        raise LocalTransientError("the gateway ended; see the log of the supervisor")
    finally:
        for task in (*keeping, serving):
            task.cancel()
