"""The server's side of a cluster: one Postgres, and stacks over clones of its databases, opened and closed by name."""

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

from smelt.local import lock, migrations, ports
from smelt.local.account import remove
from smelt.local.api import ApiOptions, load_gateway, serve
from smelt.local.cleanup import remove_ephemeral
from smelt.local.errors import LocalError, LocalTransientError
from smelt.local.migrations import ProjectFiles
from smelt.local.paths import StackPaths
from smelt.local.postgres import DATABASE, SUPERUSER, Postgres
from smelt.local.postgrest import ensure_program
from smelt.local.restart import keep_running
from smelt.local.server import start_postgres
from smelt.local.state import StackState

logger = logging.getLogger(__name__)

Ready = Callable[[dict[str, Any]], None]
Refuse = Callable[[LocalError], None]

MAINTENANCE: Final = "template1"
"""The database to clone from: nobody may be connected to the one that is cloned."""

# By copying files: the other way writes each page twice, once into the log that all streams of the server read.
_CLONE: Final = sql.SQL("create database {name} template {template} owner postgres strategy file_copy")
# What closes its connections this moment is not waited for.
_DROP: Final = sql.SQL("drop database if exists {name} with (force)")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where a cluster keeps its data until it is thrown away, and whose PostgREST it runs."""

    folder: Path
    cache: Path
    postgrest: Path | None


async def run(options: ClusterOptions, requests: AsyncIterator[Any], ready: Ready, refuse: Refuse) -> None:
    """Serve until the requests end, then leave nothing; raise `LocalError` when it can't be kept up.

    The first `ready` tells that it serves. Then `{"open": name, "project": folder}` and `{"close": name}` are answered
    one after the other, by `ready`, which tells where an opened stack is reached, or by `refuse`.
    """
    places = StackPaths(options.folder).make()
    async with AsyncExitStack() as exits:
        exits.enter_context(lock.hold(places.lock))
        remove_ephemeral(places, exits)
        exits.callback(remove, places.sockets)
        loading = asyncio.create_task(asyncio.to_thread(load_gateway))
        program = await ensure_program(options.cache, options.postgrest)
        postgres = await start_postgres(places, ProjectFiles(), options.cache, exits, db_port=0, durable=False)
        await loading
        clones = await exits.enter_async_context(Clones(postgres, program, places))
        ready({})
        serving = asyncio.create_task(_answer(clones, requests, ready, refuse))
        keeping = asyncio.create_task(keep_running(postgres))
        try:
            await asyncio.wait((serving, keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (serving, keeping):
                task.cancel()
        for task in (serving, keeping):
            if task.done() and not task.cancelled():
                task.result()


async def _answer(clones: "Clones", requests: AsyncIterator[Any], ready: Ready, refuse: Refuse) -> None:
    async for request in requests:
        try:
            match request:
                case {"open": name, "project": project}:
                    ready(asdict(await clones.open(name, Path(project))))
                case {"close": name}:
                    clones.close(name)
                    ready({})
        except LocalError as exc:
            refuse(exc)


class Clones:
    """The stacks of a cluster, each over a database that was cloned from the template of its project."""

    def __init__(self, postgres: Postgres, program: Path, places: StackPaths) -> None:
        self._postgres = postgres
        self._program = program
        self._places = places
        self._templates: set[str] = set()
        self._open: dict[str, AsyncExitStack] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Clones":
        return self

    async def __aexit__(self, *error: object) -> None:
        # Their databases go with the server.
        await asyncio.gather(*self._closing, *(exits.aclose() for exits in self._open.values()))

    async def open(self, name: str, folder: Path) -> StackState:
        """Bring a stack up that nobody has used; raise `LocalError` if its project or its API can't be."""
        project = ProjectFiles.read(folder)
        template = await self._template(project)
        exits = self._open[name] = AsyncExitStack()
        listener = exits.enter_context(ports.listen(0, "--api-port"))
        await self._execute(_CLONE, name=name, template=template)
        storage = self._places.storage / name
        exits.callback(remove, storage)
        dsn = partial(self._postgres.dsn, database=name)
        options = ApiOptions(
            project=project, dsn=dsn, storage=storage, program=self._program, log=self._places.log(f"{name}-postgrest")
        )
        api = await serve(options, listener, exits)
        keeping = asyncio.create_task(keep_running(api.postgrest))
        exits.callback(keeping.cancel)
        return StackState(
            pid=os.getpid(),
            project=str(folder),
            api_url=api.url,
            db_url=self._postgres.url(name),
            admin_dsn=dsn(SUPERUSER),
        )

    def close(self, name: str) -> None:
        """Begin to take a stack down, with all it holds; nobody waits for that. One that never came up is no error."""
        if name in self._open:
            task = asyncio.create_task(self._take_down(name, self._open.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _take_down(self, name: str, exits: AsyncExitStack) -> None:
        try:
            await exits.aclose()
            await self._execute(_DROP, name=name)
        except Exception:
            # The others go on, and what is left goes with the cluster.
            logger.exception("%s is not taken down", name)

    async def _template(self, project: ProjectFiles) -> str:
        """Answer the database to clone for a project; made once."""
        name = f"template_{project.fingerprint()[:24]}"
        if name not in self._templates:
            # What a migration that failed has left.
            await self._execute(_DROP, name=name)
            await self._execute(_CLONE, name=name, template=DATABASE)
            dsn = self._postgres.dsn("postgres", name)
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await migrations.apply(connection, project.migrations)
                await migrations.seed(connection, project.seed)
            self._templates.add(name)
        return name

    async def _execute(self, statement: sql.SQL, **names: str) -> None:
        composed = statement.format(**{key: sql.Identifier(name) for key, name in names.items()})
        dsn = self._postgres.dsn(SUPERUSER, MAINTENANCE)
        try:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await connection.execute(composed)
        except psycopg.Error as exc:
            raise LocalTransientError(f"a database could not be cloned: {exc}") from exc
