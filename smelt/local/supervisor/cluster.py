"""Runs a cluster in the supervisor: one Postgres, and stacks over cloned databases, opened and closed by name."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from smelt.local.account import remove
from smelt.local.database import migrations
from smelt.local.database.postgres import DATABASE, SUPERUSER, Postgres
from smelt.local.errors import LocalError, LocalTransientError
from smelt.local.gateway.postgrest import ensure_program
from smelt.local.paths import StackPaths
from smelt.local.processes import lock, logs, ports
from smelt.local.project import ProjectFiles
from smelt.local.state import StackState
from smelt.local.supervisor import notes
from smelt.local.supervisor.api import ApiOptions, load_gateway, serve
from smelt.local.supervisor.cleanup import remove_ephemeral
from smelt.local.supervisor.database import start_postgres
from smelt.local.supervisor.restart import keep_running

logger = logging.getLogger(__name__)

OnReady = Callable[[dict[str, Any]], None]
OnError = Callable[[LocalError], None]

MAINTENANCE_DATABASE: Final = "template1"
"""The database to connect to while cloning: a database with connections cannot be cloned."""

# The default strategy writes each page to the WAL as well, which all replication streams of the server read.
_CLONE: Final = sql.SQL("create database {name} template {template} owner postgres strategy file_copy")
# Do not wait for connections that are just being closed.
_DROP: Final = sql.SQL("drop database if exists {name} with (force)")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The folder of a cluster's ephemeral data, the cache, and a PostgREST binary to use instead of the cached one."""

    folder: Path
    cache: Path
    postgrest: Path | None


async def run(options: ClusterOptions, requests: AsyncIterator[Any], on_ready: OnReady, on_error: OnError) -> None:
    """Run a cluster until the requests end, then remove it; raise `LocalError` if a service cannot be kept running.

    Call `on_ready({})` once the cluster accepts requests. Then handle `{"open": name, "project": folder}` and
    `{"close": name}` one after the other: each calls `on_ready`, for `open` with the `StackState`, or `on_error`.
    """
    paths = StackPaths(options.folder).make()
    async with AsyncExitStack() as exit_stack:
        exit_stack.enter_context(lock.hold(paths.lock))
        remove_ephemeral(paths, exit_stack)
        exit_stack.callback(remove, paths.sockets)
        logs.rotate(paths.logs)
        rotation_task = asyncio.create_task(logs.keep_rotating(paths.logs))
        exit_stack.callback(rotation_task.cancel)
        loading = asyncio.create_task(asyncio.to_thread(load_gateway))
        program = await ensure_program(options.cache, options.postgrest)
        postgres = await start_postgres(paths, ProjectFiles(), options.cache, exit_stack, db_port=0, durable=False)
        await loading
        clones = await exit_stack.enter_async_context(Clones(postgres, program, paths))
        on_ready({})
        request_task = asyncio.create_task(_handle_requests(clones, requests, on_ready, on_error))
        restart_task = asyncio.create_task(keep_running(postgres))
        try:
            await asyncio.wait((request_task, restart_task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (request_task, restart_task):
                task.cancel()
        for task in (request_task, restart_task):
            if task.done() and not task.cancelled():
                task.result()


async def _handle_requests(
    clones: "Clones", requests: AsyncIterator[Any], on_ready: OnReady, on_error: OnError
) -> None:
    async for request in requests:
        try:
            match request:
                case {"open": name, "project": project}:
                    on_ready(asdict(await clones.open(name, Path(project))))
                case {"close": name}:
                    clones.close(name)
                    on_ready({})
        except LocalError as exc:
            on_error(exc)


class Clones:
    """The stacks of a cluster, each over a database cloned from the template of its project."""

    def __init__(self, postgres: Postgres, program: Path, paths: StackPaths) -> None:
        self._postgres = postgres
        self._program = program
        self._paths = paths
        self._templates: set[str] = set()
        self._open: dict[str, AsyncExitStack] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Clones":
        return self

    async def __aexit__(self, *error: object) -> None:
        # Their databases are removed with the server.
        await asyncio.gather(*self._closing, *(exit_stack.aclose() for exit_stack in self._open.values()))

    async def open(self, name: str, folder: Path) -> StackState:
        """Start a stack with a new database; raise `LocalError` if its migrations or its API fail."""
        project = ProjectFiles.read(folder)
        template = await self._template(project)
        exit_stack = self._open[name] = AsyncExitStack()
        listener = exit_stack.enter_context(ports.listen(0, "--api-port"))
        await self._execute(_CLONE, name=name, template=template)
        storage = self._paths.storage / name
        exit_stack.callback(remove, storage)
        dsn = partial(self._postgres.dsn, database=name)
        options = ApiOptions(
            project=project, dsn=dsn, storage=storage, program=self._program, log=self._paths.log(f"{name}-postgrest")
        )
        api = await serve(options, listener, exit_stack)
        restart_task = asyncio.create_task(keep_running(api.postgrest))
        exit_stack.callback(restart_task.cancel)
        return StackState(
            pid=os.getpid(),
            project=str(folder),
            api_url=api.url,
            db_url=self._postgres.url(name),
            admin_dsn=dsn(SUPERUSER),
            notes=await notes.describe(project, dsn("postgres")),
        )

    def close(self, name: str) -> None:
        """Stop a stack and remove its data in the background; do nothing if it is not open."""
        if name in self._open:
            task = asyncio.create_task(self._remove(name, self._open.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _remove(self, name: str, exit_stack: AsyncExitStack) -> None:
        try:
            await exit_stack.aclose()
            await self._execute(_DROP, name=name)
        except Exception:
            # The other stacks keep running; the rest is removed with the cluster.
            logger.exception("failed to remove the stack %s", name)

    async def _template(self, project: ProjectFiles) -> str:
        """Return the name of the database to clone for a project, built on first use."""
        name = f"template_{project.fingerprint()[:24]}"
        if name not in self._templates:
            # A failed migration may have left an incomplete one.
            await self._execute(_DROP, name=name)
            await self._execute(_CLONE, name=name, template=DATABASE)
            dsn = self._postgres.dsn("postgres", name)
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await migrations.apply(connection, project.migrations)
                await migrations.seed(connection, project)
            self._templates.add(name)
        return name

    async def _execute(self, statement: sql.SQL, **names: str) -> None:
        composed = statement.format(**{key: sql.Identifier(name) for key, name in names.items()})
        dsn = self._postgres.dsn(SUPERUSER, MAINTENANCE_DATABASE)
        try:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await connection.execute(composed)
        except psycopg.Error as exc:
            raise LocalTransientError(f"cannot clone or drop the database of a stack: {exc}") from exc
