"""Starts a stack, keeps its services running, and stops them in reverse order."""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from smelt.local import state
from smelt.local.account import remove
from smelt.local.database.postgres import SUPERUSER, Postgres
from smelt.local.errors import LocalTransientError
from smelt.local.gateway.postgrest import ensure_program
from smelt.local.paths import StackPaths
from smelt.local.processes import lock, logs, ports
from smelt.local.project import ProjectFiles
from smelt.local.supervisor import notes
from smelt.local.supervisor.api import Api, ApiOptions, load_gateway, serve
from smelt.local.supervisor.cleanup import remove_ephemeral
from smelt.local.supervisor.database import start_postgres
from smelt.local.supervisor.restart import keep_running


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """The options of a stack; port 0 means any free one, and `ephemeral` removes the data at the end."""

    folder: Path
    project: Path
    cache: Path
    api_port: int
    db_port: int
    postgrest: Path | None
    ephemeral: bool


async def run(options: StackOptions, on_ready: Callable[[state.StackState], None]) -> None:
    """Run a stack until cancelled, then stop everything; raise `LocalError` if a service cannot be kept running."""
    paths = StackPaths(options.folder).make()
    async with AsyncExitStack() as exit_stack:
        exit_stack.enter_context(lock.hold(paths.lock))
        if options.ephemeral:
            remove_ephemeral(paths, exit_stack)
        exit_stack.callback(state.remove, paths)
        exit_stack.callback(remove, paths.sockets)
        logs.rotate(paths.logs)
        rotation_task = asyncio.create_task(logs.keep_rotating(paths.logs))
        exit_stack.callback(rotation_task.cancel)
        project = ProjectFiles.read(options.project)
        # Importing the gateway takes a moment; do it while Postgres starts.
        loading = asyncio.create_task(asyncio.to_thread(load_gateway))
        listener = exit_stack.enter_context(ports.listen(options.api_port, "--api-port"))
        program = await ensure_program(options.cache, options.postgrest)
        postgres = await start_postgres(
            paths, project, options.cache, exit_stack, db_port=options.db_port, durable=not options.ephemeral
        )
        log = paths.log("postgrest")
        served = ApiOptions(project=project, dsn=postgres.dsn, storage=paths.storage, program=program, log=log)
        api = await serve(served, listener, exit_stack)
        await loading
        current = state.StackState(
            pid=os.getpid(),
            project=str(options.project),
            api_url=api.url,
            db_url=postgres.url(),
            admin_dsn=postgres.dsn(SUPERUSER),
            notes=await notes.describe(project, postgres.dsn("postgres")),
        )
        state.write(paths, current)
        on_ready(current)
        await _keep_services_running(postgres, api)


async def _keep_services_running(postgres: Postgres, api: Api) -> None:
    """Restart services that exit; raise `LocalTransientError` if that fails or the gateway exits."""
    restart_tasks = [asyncio.create_task(keep_running(service)) for service in (postgres, api.postgrest)]
    gateway_task = asyncio.create_task(api.gateway.wait())
    try:
        await asyncio.wait((*restart_tasks, gateway_task), return_when=asyncio.FIRST_COMPLETED)
        for task in restart_tasks:
            if task.done():
                task.result()
        raise LocalTransientError("the gateway exited; see the log of the supervisor")
    finally:
        for task in (*restart_tasks, gateway_task):
            task.cancel()
