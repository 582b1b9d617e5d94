"""Job queues on one Postgres: smelt by its SQL functions and by PostgREST, PgQueuer, procrastinate.

PgQueuer and procrastinate are called as their own workers call them, each in a schema of its own.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol
from uuid import UUID, uuid4

import httpx
import jwt
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from smelt.local import LocalStack

LEASE_S = 600
FILL_CHUNK = 10_000

try:
    import procrastinate
    from pgqueuer.adapters.persistence.queries import Queries
    from pgqueuer.ports.repository import EntrypointExecutionParameter
    from procrastinate.jobs import Job, Status
except ImportError:
    procrastinate = None


def peer_versions() -> dict[str, str]:
    """Return the versions of the other queues; end the program with a hint if they are not installed."""
    if procrastinate is None:
        raise SystemExit("The references are not installed; run: .venv/bin/pip install pgqueuer procrastinate")
    return {name: version(name) for name in ("pgqueuer", "procrastinate")}


class Session(Protocol):
    """A connection of a producer and worker. Claimed jobs are of the queue's own type."""

    async def enqueue(self) -> Any:
        """Add a job."""

    async def claim(self, count: int) -> list[Any]:
        """Claim up to `count` jobs that are due."""

    async def complete(self, jobs: list[Any]) -> None:
        """Complete claimed jobs."""


@dataclass(frozen=True)
class System:
    """A queue; its workers claim `batch` jobs at a time."""

    name: str
    batch: int
    open: Callable[[], AbstractAsyncContextManager[Session]]


def connect(stack: LocalStack, **settings: str) -> Any:
    """Connect as the superuser, with these settings, in autocommit mode."""
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return AsyncConnection.connect(stack.admin_dsn, autocommit=True, options=options)


class SmeltSession:
    """Smelt: texts of one user, and a worker with an id of its own: the claims of one worker wait for each other."""

    def __init__(self) -> None:
        self.worker_id = str(uuid4())

    async def as_worker(self, function: str, **arguments: Any) -> Any:
        """Call a function of the API as a worker."""
        raise NotImplementedError

    async def as_user(self, function: str, **arguments: Any) -> Any:
        """Call a function of the API as the user."""
        raise NotImplementedError

    async def enqueue(self, **arguments: Any) -> UUID:
        return UUID((await self.as_user("create_smelt", text_input="A text.", **arguments))["id"])

    async def claim(self, count: int) -> list[Any]:
        claim = await self.as_worker(
            "claim_smelts", worker_id=self.worker_id, claim_token=str(uuid4()), max_count=count, lease_s=LEASE_S
        )
        return claim["smelts"]

    async def complete(self, jobs: list[Any]) -> None:
        for job in jobs:
            results = [{"file_id": f["id"], "filename": f["filename"], "content": "Notes"} for f in job["files"]]
            await self.as_worker("complete_smelt", smelt_id=job["id"], attempt=job["attempt"], results=results)

    async def release(self, jobs: list[Any]) -> None:
        """Return claimed smelts to the queue."""
        for job in jobs:
            await self.as_worker("release_smelt", smelt_id=job["id"], attempt=job["attempt"])


class SmeltSql(SmeltSession):
    """Smelt by its SQL functions, without PostgREST."""

    def __init__(self, worker: AsyncConnection, user: AsyncConnection) -> None:
        super().__init__()
        self._worker = worker
        self._user = user

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: LocalStack, user: UUID) -> AsyncIterator["SmeltSql"]:
        async with await connect(stack) as worker, await connect(stack) as owner:
            await worker.execute("set role service_role")
            await owner.execute("set role authenticated")
            session = cls(worker, owner)
            await session.sign_in(user)
            yield session

    async def sign_in(self, user: UUID) -> None:
        """Continue as another user."""
        claims = f'{{"role": "authenticated", "sub": "{user}"}}'
        await self._user.execute("select set_config('request.jwt.claims', %s, false)", [claims])

    async def list_own(self, count: int) -> None:
        """Read the newest smelts of the user, under row level security."""
        found = await self._user.execute("select * from public.smelts order by created_at desc limit %s", [count])
        await found.fetchall()

    async def as_worker(self, function: str, **arguments: Any) -> Any:
        return await self._call(self._worker, function, arguments)

    async def as_user(self, function: str, **arguments: Any) -> Any:
        return await self._call(self._user, function, arguments)

    async def _call(self, connection: AsyncConnection, function: str, arguments: dict[str, Any]) -> Any:
        named = ", ".join(f"{name} => %({name})s" for name in arguments)
        values = {key: Jsonb(value) if isinstance(value, (list, dict)) else value for key, value in arguments.items()}
        found = await connection.execute(f"select public.{function}({named})", values)
        [[result]] = await found.fetchall()
        return result


class SmeltRest(SmeltSession):
    """Smelt by PostgREST, through the gateway."""

    def __init__(self, http: httpx.AsyncClient, worker_token: str, user_token: str) -> None:
        super().__init__()
        self._http = http
        self._worker_token = worker_token
        self._user_token = user_token

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: LocalStack, user: UUID) -> AsyncIterator["SmeltRest"]:
        claims = {"role": "authenticated", "sub": str(user), "exp": 2**32}
        async with httpx.AsyncClient(
            base_url=f"{stack.api_url}/rest/v1/rpc/", headers={"apikey": stack.anon_key}, timeout=60
        ) as http:
            yield cls(http, stack.service_role_key, jwt.encode(claims, stack.jwt_secret, "HS256"))

    async def as_worker(self, function: str, **arguments: Any) -> Any:
        return await self._call(self._worker_token, function, arguments)

    async def as_user(self, function: str, **arguments: Any) -> Any:
        return await self._call(self._user_token, function, arguments)

    async def _call(self, token: str, function: str, arguments: dict[str, Any]) -> Any:
        response = await self._http.post(function, json=arguments, headers={"authorization": f"Bearer {token}"})
        if response.is_error:
            raise SystemExit(f"{function}: {response.status_code} {response.text}")
        return response.json()


class PgQueuer:
    """PgQueuer on psycopg."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._queries = Queries.from_psycopg_connection(connection)
        self._entrypoints = {"bench": EntrypointExecutionParameter(0)}
        self._manager = uuid4()

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: LocalStack) -> AsyncIterator["PgQueuer"]:
        async with await connect(stack, search_path="peer_pgqueuer") as connection:
            yield cls(connection)

    async def install(self) -> None:
        await self._queries.install()

    async def enqueue(self) -> None:
        await self._queries.enqueue("bench", b"A text.")

    async def claim(self, count: int) -> list[Any]:
        return await self._queries.dequeue(count, self._entrypoints, self._manager, None, timedelta(seconds=LEASE_S))

    async def complete(self, jobs: list[Any]) -> None:
        await self._queries.log_jobs([(job, "successful", None) for job in jobs])

    async def fill(self, count: int) -> None:
        """Replace all jobs by `count` waiting ones."""
        await self._queries.clear_queue()
        for start in range(0, count, FILL_CHUNK):
            size = min(FILL_CHUNK, count - start)
            await self._queries.enqueue(["bench"] * size, [b"A text."] * size, [0] * size)
        await self._queries.driver.execute("vacuum (analyze) pgqueuer, pgqueuer_log")


class Procrastinate:
    """procrastinate on psycopg."""

    def __init__(self, connection: AsyncConnection, app: Any, worker_id: int) -> None:
        self._connection = connection
        self._jobs = app.job_manager
        self._worker_id = worker_id
        self._job = Job(
            queue="bench", lock=None, queueing_lock=None, task_name="bench", task_kwargs={"text": "A text."}
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: LocalStack) -> AsyncIterator["Procrastinate"]:
        path = "-c search_path=peer_procrastinate"
        connector = procrastinate.PsycopgConnector(
            conninfo=stack.admin_dsn, kwargs={"options": path}, min_size=1, max_size=1
        )
        app = procrastinate.App(connector=connector)
        async with app.open_async(), await connect(stack, search_path="peer_procrastinate") as connection:
            found = await connection.execute("select to_regclass('procrastinate_jobs') is null")
            if (await found.fetchall())[0][0]:
                await app.schema_manager.apply_schema_async()
            yield cls(connection, app, await app.job_manager.register_worker())

    async def enqueue(self) -> None:
        await self._jobs.defer_job_async(self._job)

    async def claim(self, count: int) -> list[Any]:
        """Fetch up to `count` jobs, one after another: procrastinate has no call for several."""
        fetched = [await self._jobs.fetch_job(["bench"], self._worker_id) for _ in range(count)]
        return [job for job in fetched if job is not None]

    async def complete(self, jobs: list[Any]) -> None:
        for job in jobs:
            await self._jobs.finish_job(job, Status.SUCCEEDED, delete_job=False)

    async def fill(self, count: int, finished: int = 0) -> None:
        """Replace all jobs by finished and waiting ones."""
        await self._connection.execute("truncate procrastinate_jobs cascade")
        insert = (
            "insert into procrastinate_jobs (queue_name, task_name, args, status)"
            " select 'bench', 'bench', '{}', %s::procrastinate_job_status from generate_series(1, %s)"
        )
        await self._connection.execute(insert, ["succeeded", finished])
        await self._connection.execute(insert, ["todo", count])
        await self._connection.execute("vacuum (analyze) procrastinate_jobs, procrastinate_events")


async def install_peers(stack: LocalStack) -> None:
    """Create the schemas of the other queues."""
    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(await connect(stack))
        for schema in ("peer_pgqueuer", "peer_procrastinate"):
            await database.execute(f"create schema {schema}")
        await (await exits.enter_async_context(PgQueuer.open(stack))).install()
        await exits.enter_async_context(Procrastinate.open(stack))


def all_systems(stack: LocalStack, user: UUID) -> list[System]:
    """Return the systems to compare, PgQueuer with its default batch size first: it is the reference."""
    return [
        System("PgQueuer", 10, partial(PgQueuer.open, stack)),
        System("PgQueuer, one at a time", 1, partial(PgQueuer.open, stack)),
        System("procrastinate", 1, partial(Procrastinate.open, stack)),
        System("smelt, SQL functions", 1, partial(SmeltSql.open, stack, user)),
        System("smelt, SQL functions, ten at a time", 10, partial(SmeltSql.open, stack, user)),
        System("smelt, PostgREST", 1, partial(SmeltRest.open, stack, user)),
    ]


async def postgres_version(stack: LocalStack) -> str:
    """Return the version of the server."""
    async with await connect(stack) as connection:
        return str(connection.info.parameter_status("server_version"))
