"""Smelts on three workers under faults in a random order; `scripts/chaos` runs it longer.

The faults affect the workers and their children, Postgres, PostgREST and the gateway. None is caused by a smelt, so
each must complete, once: a fault that may count as a failure of a smelt is delayed while another failure could end it.
"""

import argparse
import asyncio
import json
import math
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, LiteralString, Protocol
from uuid import UUID, uuid4

import psutil
import psycopg

from smelt.backend.project import Project
from smelt.errors import TransientError
from smelt.local import StackHandle
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Failed, Progress, Segments
from tests.harness.processes import named, process_tree, processes_with_home
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.recorder import Recorder
from tests.harness.stacks import RemoteStack, end_cluster, running_local, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import RECORDINGS, WorkerProcess

AUDIO: Final = ("greeting.ogg", "agreement.ogg", "number.ogg", "status.ogg", "deadline.ogg", "question.ogg")
WORKERS: Final = ("one", "two", "three")
LEASE_S: Final = 5
# A worker that drains gives its smelts back after this time.
DRAIN_S: Final = 10
PAUSES_S: Final = (0.2, 0.8)
SUSPENSIONS_S: Final = (0.5, LEASE_S + 2.0)
OUTAGES_S: Final = (0.2, 2.0)
RETRY_S: Final = 0.2
POLL_S: Final = 0.01
WORK_TIMEOUT_S: Final = 4.0
# About the time from one fault to the next.
GROUP_INTERVAL_S: Final = 2.0
END_TIMEOUT_S: Final = 240.0
EXIT_TIMEOUT_S: Final = 60.0

SETTINGS: Final = "update smelt.limits set max_open = 10000, retry_base_s = 0.2, retry_max_s = 2"
# One more failure would be the third one of a smelt. A lease with a risk may be about to expire, or its worker is gone.
ENDANGERED: Final = """
select count(*) from public.smelts as s left join smelt.leases as l on l.smelt_id = s.id
where s.completed_at is null
    and s.failure_count + (l.risk is not null and l.expires_at < now() + interval '3 s')::integer >= 2
"""
BUSY: Final = """
select distinct l.host from smelt.leases as l join public.smelts as s on s.id = l.smelt_id
where l.expires_at > now() and %(work)s in ('', l.risk, s.status::text)
"""
CUT: Final = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""
# Each must return no row once all smelts have completed.
WRONG: Final[dict[str, LiteralString]] = {
    "smelts that did not complete": """
        select id, status::text, error_code from public.smelts where status <> 'completed' or outcome <> 'complete'
    """,
    "leases": "select smelt_id, worker_id from smelt.leases",
    "suspects": "select smelt_id, risk from smelt.suspects",
    "attempts without an end": "select smelt_id, attempt from smelt.attempts where ended_as is null",
    "smelts without one settlement": """
        select s.id, count(a.attempt) from public.smelts as s
        left join smelt.attempts as a on a.smelt_id = s.id and a.ended_as = 'settled'
        group by s.id having count(a.attempt) <> 1
    """,
    "smelts without one result": """
        select s.id, count(r.file_id) from public.smelts as s
        left join public.smelt_results as r on r.smelt_id = s.id
        group by s.id having count(r.file_id) <> 1
    """,
    "smelts without one notification": """
        select s.id, count(n.id) from public.smelts as s
        left join public.smelt_notifications as n on n.smelt_id = s.id
        group by s.id having count(n.id) <> 1
    """,
}
UNSENT: Final = "select count(*) from smelt.outbox"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The number of smelts, the duration of the faults, and the seed of their order."""

    texts: int
    recordings: int
    seconds: float
    seed: int


@dataclass
class Outcome:
    """The result of a run: the faults by kind, and the failures that they caused."""

    smelts: int
    faults: dict[str, int]
    attempts: int
    failures: int
    updates: int
    seconds: float


class Workers:
    """Worker processes, each of which is started again when it exits."""

    def __init__(self, stack: RemoteStack, folder: Path) -> None:
        self.home = folder
        self._stack = stack
        self._running: dict[str, WorkerProcess] = {}
        self._exit_codes: Counter[int] = Counter()
        self._children: dict[str, list[tuple[str, psutil.Process]]] = {}

    def start(self, name: str) -> None:
        """Start a worker, on a host of its own."""
        folder = self.home / name
        folder.mkdir(exist_ok=True)
        settings = {"SMELT_HOST": name, "SMELT_LEASE_S": str(LEASE_S), "SMELT_DRAIN_S": str(DRAIN_S)}
        # Its children inherit the home, by which they are found even if it has ended.
        self._running[name] = WorkerProcess(self._stack, folder, HOME=str(self.home), **settings)

    def restart_exited(self) -> None:
        """Start each worker again that has exited."""
        for name, worker in list(self._running.items()):
            if worker.process.poll() is not None:
                self._exit_codes[worker.process.returncode] += 1
                worker.close()
                self.start(name)

    def process(self, name: str) -> psutil.Process | None:
        """Return the process of a worker, None if it has exited."""
        worker = self._running[name].process
        return psutil.Process(worker.pid) if worker.poll() is None else None

    def find_children(self) -> None:
        """Find the children of all workers; this takes longer than the work that they do for a short recording."""
        self._children = {name: [] for name in self._running}
        for name, children in self._children.items():
            if (worker := self.process(name)) is not None:
                with suppress(psutil.NoSuchProcess):
                    children += [(" ".join(child.cmdline()), child) for child in worker.children()]

    def children(self, name: str, kind: str) -> list[psutil.Process]:
        """Return the children of this kind of a worker that were found."""
        return [child for command, child in self._children[name] if f"smelt.processor.children.{kind} " in command]

    async def drain(self) -> None:
        """End all workers; assert that none has exited by itself, and that none of their processes is left."""
        for worker in self._running.values():
            worker.end(signal.SIGTERM)
        for worker in self._running.values():
            self._exit_codes[await worker.exit_code(EXIT_TIMEOUT_S)] += 1
        # One that has not yet begun to work ends at once.
        assert set(self._exit_codes) <= {0, -signal.SIGKILL, -signal.SIGTERM}, self._exit_codes
        await until(lambda: not processes_with_home(self.home), timeout_s=EXIT_TIMEOUT_S)

    def close(self) -> None:
        """Kill the workers that still run."""
        for worker in self._running.values():
            worker.close()


@dataclass
class Site:
    """The processes and connections that the faults affect."""

    stack: StackHandle
    proxy: FaultyProxy
    workers: Workers
    database: psycopg.AsyncConnection[tuple[Any, ...]]
    chance: random.Random
    faults: Counter[str] = field(default_factory=Counter)

    async def is_endangered(self) -> bool:
        """Return True if one more failure could end a smelt."""
        return bool(await self.count(ENDANGERED))

    async def count(self, query: LiteralString) -> int:
        """Return the one number that a query returns."""
        [(count,)] = await (await self.database.execute(query)).fetchall()
        return int(count)

    async def busy_worker(self, work: str = "") -> str:
        """Wait a moment for a worker with this work, by default any; return its name, or that of any worker."""
        deadline_s = time.monotonic() + WORK_TIMEOUT_S
        while time.monotonic() < deadline_s:
            rows = await (await self.database.execute(BUSY, {"work": work})).fetchall()
            if hosts := sorted(host for (host,) in rows):
                return str(self.chance.choice(hosts))
            await asyncio.sleep(POLL_S)
        return self.chance.choice(WORKERS)

    async def pause(self, low_s: float, high_s: float) -> None:
        """Wait for a random time."""
        await asyncio.sleep(self.chance.uniform(low_s, high_s))


class Fault(Protocol):
    """Acts on a site, on a worker for some, and ends itself; returns False if there was nothing to act on."""

    def __call__(self, site: Site, worker: str, /) -> Awaitable[bool]: ...


def sending(number: signal.Signals) -> Fault:
    """Return a fault: a worker receives a signal."""

    async def inject(site: Site, name: str) -> bool:
        if (worker := site.workers.process(name)) is None:
            return False
        worker.send_signal(number)
        return True

    return inject


async def suspend_worker(site: Site, name: str) -> bool:
    if (worker := site.workers.process(name)) is None:
        return False
    worker.suspend()
    try:
        await site.pause(*SUSPENSIONS_S)
    finally:
        worker.resume()
    return True


def killing_children(kind: str) -> Fault:
    """Return a fault: all children of this kind of a worker are killed."""

    async def inject(site: Site, name: str) -> bool:
        children = site.workers.children(name, kind)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return bool(children)

    return inject


async def cut_database(site: Site, _: str) -> bool:
    with psycopg.connect(site.stack.admin_dsn, autocommit=True) as admin:
        admin.execute(CUT)
    await site.database.close()
    site.database = await connect_to_database(site.stack)
    return True


async def kill_postgrest(site: Site, _: str) -> bool:
    named(process_tree(site.stack.state.pid), "postgrest").kill()
    return True


async def suspend_postgrest(site: Site, _: str) -> bool:
    postgrest = named(process_tree(site.stack.state.pid), "postgrest")
    postgrest.suspend()
    try:
        await site.pause(*OUTAGES_S)
    finally:
        postgrest.resume()
    return True


def interrupting(start: Callable[[FaultyProxy], None]) -> Fault:
    """Return a fault of the gateway, which is healed after a while."""

    async def inject(site: Site, _: str) -> bool:
        start(site.proxy)
        await site.pause(*OUTAGES_S)
        site.proxy.heal()
        return True

    return inject


async def restart_gateway(site: Site, _: str) -> bool:
    await site.proxy.stop()
    await site.pause(*OUTAGES_S)
    await site.proxy.start()
    return True


# These can count as a failure of smelts, so each comes with a recording.
COUNTING: Final[dict[str, Fault]] = {
    "worker killed": sending(signal.SIGKILL),
    "worker suspended": suspend_worker,
    "model killed": killing_children("model"),
    "decoders killed": killing_children("decode"),
    "extractor killed": killing_children("extract"),
}
FAULTS: Final[dict[str, Fault]] = COUNTING | {
    "worker drained": sending(signal.SIGTERM),
    "backends terminated": cut_database,
    "PostgREST killed": kill_postgrest,
    "PostgREST suspended": suspend_postgrest,
    "connections cut": interrupting(lambda proxy: proxy.cut()),
    "connections rejected": interrupting(lambda proxy: proxy.reject()),
    "connections stalled": interrupting(lambda proxy: proxy.stall()),
    "gateway restarted": restart_gateway,
}
# The work during which a child is killed: the risk of a lease, or the status of a smelt.
WORK: Final = {"model killed": "model", "decoders killed": "decode", "extractor killed": "synthesizing"}


class Smelts:
    """Creates the smelts of a plan, a group before each fault, and follows them."""

    def __init__(self, plan: Plan, client: Client, follow: Callable[[UUID], None], tasks: asyncio.TaskGroup) -> None:
        self._texts = [f"Note {n}. Ben will call the client on Monday. We ship {n} parts." for n in range(plan.texts)]
        self._recordings = [RECORDINGS / AUDIO[n % len(AUDIO)] for n in range(plan.recordings)]
        self._group_size = math.ceil(plan.texts * GROUP_INTERVAL_S / plan.seconds)
        self._client = client
        self._follow = follow
        self._tasks = tasks

    def create_group(self, *, with_recording: bool) -> None:
        """Create the next texts, and a recording if there is one left."""
        self._create([], self._group_size)
        if with_recording and self._recordings:
            self._create([self._recordings.pop()], 0)

    def create_rest(self) -> None:
        """Create all others."""
        self._create(self._recordings, len(self._texts))

    def _create(self, recordings: Sequence[Path], text_count: int) -> None:
        texts, self._texts = self._texts[:text_count], self._texts[text_count:]
        for recording in recordings:
            self._tasks.create_task(self._create_one(files=[recording]))
        for text in texts:
            self._tasks.create_task(self._create_one(text=text))

    async def _create_one(self, *, files: Sequence[Path] = (), text: str | None = None) -> None:
        """Create a smelt, repeatedly until the project has responded."""
        key = str(uuid4())
        while True:
            try:
                created = await self._client.create(files=files, text=text, idempotency_key=key)
            except TransientError:
                await asyncio.sleep(RETRY_S)
            else:
                self._follow(created.id)
                return


async def inject_faults(site: Site, smelts: Smelts, seconds: float) -> None:
    """Inject one fault after another, each kind once before any kind again, each while there is work."""
    end_s = time.monotonic() + seconds
    waiting: list[str] = []
    while time.monotonic() < end_s:
        waiting = waiting or site.chance.sample(sorted(FAULTS), len(FAULTS))
        site.workers.restart_exited()
        site.workers.find_children()
        smelts.create_group(with_recording=waiting[0] in COUNTING)
        worker = await site.busy_worker(WORK.get(waiting[0], ""))
        endangered = await site.is_endangered()
        name = next((name for name in waiting if not (endangered and name in COUNTING)), None)
        if name is not None:
            waiting.remove(name)
            with suppress(psutil.NoSuchProcess):
                site.faults[name] += await FAULTS[name](site, worker)
        await site.pause(*PAUSES_S)
    smelts.create_rest()


async def play(stack: StackHandle, folder: Path, plan: Plan) -> Outcome:
    """Run smelts under faults; assert that each has completed once and that its watch has received that."""
    started_s = time.monotonic()
    with psycopg.connect(stack.db_url, autocommit=True) as owner:
        owner.execute(SETTINGS)
    user = sign_up(stack)
    recorder, watching = Recorder(), dict[UUID, asyncio.Task[None]]()
    async with (
        faulty_proxy(stack.api_url) as proxy,
        connect(stack.api_url, stack.anon_key, user.access_token) as direct,
        Client(Project(proxy.url, stack.anon_key, access_token=user.access_token)) as watcher,
        running_workers(stack, proxy, folder) as workers,
        connected(stack, proxy, workers, plan) as site,
    ):

        def follow(smelt_id: UUID) -> None:
            watching[smelt_id] = asyncio.create_task(recorder.watch(watcher, smelt_id))

        async with asyncio.TaskGroup() as tasks:
            await inject_faults(site, Smelts(plan, direct, follow, tasks), plan.seconds)
        workers.restart_exited()
        _, pending = await asyncio.wait(watching.values(), timeout=END_TIMEOUT_S)
        assert not pending, await found(site, WRONG["smelts that did not complete"])
        await asyncio.gather(*watching.values())
        with psycopg.connect(stack.db_url, autocommit=True) as owner:
            await until(lambda: owner.execute(UNSENT).fetchone() == (0,), timeout_s=END_TIMEOUT_S)
        await workers.drain()
        assert len(watching) == plan.texts + plan.recordings
        await check_rows(site, set(watching))
        for smelt_id in watching:
            await check_watch(direct, recorder, smelt_id)
        return Outcome(
            smelts=len(watching),
            faults=dict(site.faults),
            attempts=await site.count("select count(*) from smelt.attempts"),
            failures=await site.count("select count(*) from smelt.attempts where is_failure"),
            updates=sum(map(len, recorder.updates.values())),
            seconds=round(time.monotonic() - started_s, 1),
        )


@asynccontextmanager
async def running_workers(stack: StackHandle, proxy: FaultyProxy, folder: Path) -> AsyncIterator[Workers]:
    """Run the workers behind a proxy."""
    direct = RemoteStack(stack.api_url, stack.anon_key, stack.service_role_key, stack.db_url)
    workers = Workers(replace(direct, api_url=proxy.url), folder)
    try:
        for name in WORKERS:
            workers.start(name)
        yield workers
    finally:
        workers.close()


@asynccontextmanager
async def connected(stack: StackHandle, proxy: FaultyProxy, workers: Workers, plan: Plan) -> AsyncIterator[Site]:
    """Connect to the database of a site."""
    site = Site(stack, proxy, workers, await connect_to_database(stack), random.Random(plan.seed))
    try:
        yield site
    finally:
        await site.database.close()


async def connect_to_database(stack: StackHandle) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """Return a connection of the project's owner."""
    return await psycopg.AsyncConnection.connect(stack.db_url, autocommit=True)


async def found(site: Site, query: LiteralString) -> Sequence[tuple[Any, ...]]:
    """Return the rows that a query returns."""
    return await (await site.database.execute(query)).fetchall()


async def check_rows(site: Site, smelt_ids: set[UUID]) -> None:
    """Assert that each smelt has completed once, and that nothing else is left."""
    known = await found(site, "select id from public.smelts")
    assert {row[0] for row in known} == smelt_ids
    wrong = {name: await found(site, query) for name, query in WRONG.items()}
    assert not any(wrong.values()), {name: rows for name, rows in wrong.items() if rows}


async def check_watch(client: Client, recorder: Recorder, smelt_id: UUID) -> None:
    """Assert that a watch has received each segment once and one end, and that its percentages never decreased."""
    updates = recorder.updates[smelt_id]
    ends = [update for update in updates if isinstance(update, Completed | Failed)]
    assert ends == updates[-1:], smelt_id
    percentages = [update.percentage for update in updates if isinstance(update, Progress)]
    assert percentages == sorted(percentages), smelt_id
    state = await client.get(smelt_id)
    received = [segment.text for update in updates if isinstance(update, Segments) for segment in update.segments]
    assert received == [segment.text for segment in state.segments], smelt_id


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder for the block."""
    with tempfile.TemporaryDirectory(prefix="smelt-chaos-") as folder:
        yield Path(folder)


def main() -> None:
    """Run smelts under faults on an embedded stack, and print what happened."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Run smelts on three workers under faults.")
    parser.add_argument("--smelts", type=int, default=330)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long there are faults")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    recordings = arguments.smelts // 11
    plan = Plan(
        texts=arguments.smelts - recordings,
        recordings=recordings,
        seconds=arguments.seconds,
        seed=arguments.seed,
    )
    print(f"seed {plan.seed}", file=sys.stderr)
    with ExitStack() as leaving:
        leaving.callback(end_cluster)
        folder, stack = leaving.enter_context(temporary_folder()), leaving.enter_context(running_local())
        outcome = asyncio.run(play(stack, folder, plan))
    print(json.dumps({"seed": plan.seed, **asdict(outcome)}), flush=True)


if __name__ == "__main__":
    main()
