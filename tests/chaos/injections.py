"""The faults of a run, in lanes: the faults of a lane follow one another, those of different lanes overlap."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import psutil
import psycopg

from tests.chaos.disks import STORAGE_DISK_FULL, WORKER_DISK_FULL, database_name, filled
from tests.chaos.hooks import Hooks
from tests.chaos.network import ChaosProxy
from tests.chaos.plan import Plan, PlannedFault
from tests.chaos.site import Site
from tests.harness.faults import closing
from tests.harness.processes import process_tree

OUTAGES_S: Final = (0.2, 2.0)
FREEZES_S: Final = (0.5, 2.0)
"""How long a worker is frozen, beyond its lease or below it."""
DELAYS_S: Final = (0.02, 0.3)
STORAGE_STATUSES: Final = (500, 502, 503, 504, 544)
WORK_TIMEOUT_S: Final = 4.0
POLL_S: Final = 0.05

BUSY: Final = """
select distinct l.host from smelt.leases as l join public.smelts as s on s.id = l.smelt_id
where l.expires_at > now() and l.worker_id is not null and %s in ('', l.risk, s.status::text)
"""
# Connections of the owner are those of the run itself.
TERMINATE: Final = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = %s
"""
HELD: Final = "select smelt_id, attempt from smelt.leases where host = %s and worker_id is not null"

Fault = Callable[["Injector", PlannedFault], Awaitable[bool]]
"""Acts on a site and ends itself; returns False if there was nothing to act on."""


class Injector:
    """Injects the faults of a plan.

    Attributes:
        injected: How often each fault had something to act on, and how often it had not.
        deaths: The attempts that a killed worker held, with the time by the clock of this process.
    """

    def __init__(self, site: Site, hooks: Hooks, plan: Plan) -> None:
        self.site = site
        self.hooks = hooks
        self._plan = plan
        self.injected: Counter[str] = Counter()
        self.in_vain: Counter[str] = Counter()
        self.deaths: dict[tuple[Any, int], float] = {}

    async def run(self, lane: str, until_s: float, before: Callable[[PlannedFault], None]) -> None:
        """Inject the faults of a lane until that time, and each kind at least once; call `before` before each."""
        faults = {name: fault for name, fault in LANES[lane].items() if name not in self.site.disks.skipped}
        planned_faults = self._plan.faults(lane, tuple(faults), self.site.workers.names)
        for number, planned in enumerate(planned_faults):
            if number >= len(faults) and time.monotonic() >= until_s:
                break
            await asyncio.sleep(planned.pause_s)
            before(planned)
            is_injected = False
            with suppress(psutil.NoSuchProcess):
                is_injected = await faults[planned.name](self, planned)
            (self.injected if is_injected else self.in_vain)[planned.name] += 1

    async def busy_worker(self, planned: PlannedFault) -> str:
        """Wait a moment for a worker with the work of this fault; return its name, or that of any worker."""
        deadline_s = time.monotonic() + WORK_TIMEOUT_S
        while time.monotonic() < deadline_s:
            hosts = {host for (host,) in await self.site.database.rows(BUSY, WORK.get(planned.name, ""))}
            if busy := [name for name in planned.workers if name in hosts]:
                return busy[0]
            await asyncio.sleep(POLL_S)
        return planned.workers[0]

    async def note_death(self, name: str) -> None:
        """Remember what a worker holds that is about to stop."""
        self.deaths |= dict.fromkeys(await self.site.database.rows(HELD, name), time.time())


def between(limits: tuple[float, float], level: float) -> float:
    """Return the number at a level between two limits."""
    low, high = limits
    return low + (high - low) * level


async def kill_worker(injector: Injector, planned: PlannedFault) -> bool:
    name = await injector.busy_worker(planned)
    if (worker := injector.site.workers.process(name)) is None:
        return False
    await injector.note_death(name)
    worker.kill()
    return True


async def terminate_worker(injector: Injector, planned: PlannedFault) -> bool:
    worker = injector.site.workers.process(await injector.busy_worker(planned))
    if worker is not None:
        worker.terminate()
    return worker is not None


def freezing(beyond_s: Callable[[Site], float]) -> Fault:
    """Return a fault: a worker is frozen, for this time more than usually."""

    async def inject(injector: Injector, planned: PlannedFault) -> bool:
        name = await injector.busy_worker(planned)
        if (worker := injector.site.workers.process(name)) is None:
            return False
        worker.suspend()
        try:
            await asyncio.sleep(beyond_s(injector.site) + between(FREEZES_S, planned.level))
        finally:
            worker.resume()
        return True

    return inject


def killing_children(kind: str) -> Fault:
    """Return a fault: all children of this kind of a worker are killed."""

    async def inject(injector: Injector, planned: PlannedFault) -> bool:
        children = injector.site.workers.children(await injector.busy_worker(planned), kind)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return bool(children)

    return inject


def filling_disk(name: str) -> Fault:
    """Return a fault: a disk is full for a while."""

    async def inject(injector: Injector, planned: PlannedFault) -> bool:
        with filled(injector.site.disks.mounted[name]):
            await asyncio.sleep(between(OUTAGES_S, planned.level))
        return True

    return inject


def terminating(backend_type: str) -> Fault:
    """Return a fault: all backends of a type are terminated."""

    async def inject(injector: Injector, _: PlannedFault) -> bool:
        async with await psycopg.AsyncConnection.connect(injector.site.stack.admin_dsn, autocommit=True) as admin:
            found = await (await admin.execute(TERMINATE, [backend_type])).fetchone()
        return found is not None and found[0] > 0

    return inject


async def kill_postgrest(injector: Injector, _: PlannedFault) -> bool:
    if (postgrest := _postgrest(injector.site)) is not None:
        postgrest.kill()
    return postgrest is not None


async def suspend_postgrest(injector: Injector, planned: PlannedFault) -> bool:
    if (postgrest := _postgrest(injector.site)) is None:
        return False
    postgrest.suspend()
    try:
        await asyncio.sleep(between(OUTAGES_S, planned.level))
    finally:
        postgrest.resume()
    return True


def ending_gateway(number: signal.Signals) -> Fault:
    """Return a fault: `smelt serve` is ended with a signal, and started again at its address."""

    async def inject(injector: Injector, _: PlannedFault) -> bool:
        await injector.site.gateway.end(number)
        await injector.site.gateway.start()
        return True

    return inject


def _postgrest(site: Site) -> psutil.Process | None:
    # The stacks of a cluster have the same supervisor.
    name = database_name(site.stack)
    tree = process_tree(site.stack.state.pid)
    return next((one for one in tree if name in one.environ().get("PGRST_DB_URI", "")), None)


def interrupting(start: Callable[[ChaosProxy, PlannedFault], None], *proxies: str) -> Fault:
    """Return a fault of one of these proxies, by default any, that is healed after a while."""

    async def inject(injector: Injector, planned: PlannedFault) -> bool:
        proxy = _proxy(injector.site, planned, proxies or PROXIES)
        start(proxy, planned)
        await asyncio.sleep(between(OUTAGES_S, planned.level))
        proxy.heal()
        return True

    return inject


async def restart_network(injector: Injector, planned: PlannedFault) -> bool:
    """A server announces a restart, is unavailable for a while, and returns."""
    proxy = _proxy(injector.site, planned, PROXIES)
    proxy.inject(closing(1012))
    await proxy.stop()
    await asyncio.sleep(between(OUTAGES_S, planned.level))
    await proxy.start()
    return True


async def reject_webhooks(injector: Injector, planned: PlannedFault) -> bool:
    """The endpoint of a user's webhook rejects connections for a while."""
    network = injector.hooks.network
    await network.stop()
    await asyncio.sleep(between(OUTAGES_S, planned.level))
    await network.start()
    return True


PROXIES: Final = ("inner", "outer", "front")


def _proxy(site: Site, planned: PlannedFault, names: tuple[str, ...]) -> ChaosProxy:
    proxy: ChaosProxy = getattr(site, names[int(planned.level * 1000) % len(names)])
    return proxy


def _restart_realtime(proxy: ChaosProxy, _: PlannedFault) -> None:
    proxy.inject(closing(1012))
    proxy.reject("realtime")


def _fail_storage(proxy: ChaosProxy, planned: PlannedFault) -> None:
    proxy.fail_storage(STORAGE_STATUSES[int(planned.level * len(STORAGE_STATUSES))])


LANES: Final[Mapping[str, Mapping[str, Fault]]] = {
    "workers": {
        "worker killed": kill_worker,
        "worker terminated": terminate_worker,
        "worker frozen": freezing(lambda _: 0.0),
        "worker frozen beyond its lease": freezing(lambda site: site.plan.lease_s),
        "model killed": killing_children("model"),
        "decoders killed": killing_children("decode"),
        "extractor killed": killing_children("extract"),
        WORKER_DISK_FULL: filling_disk(WORKER_DISK_FULL),
    },
    "servers": {
        "backends terminated": terminating("client backend"),
        "replication terminated": terminating("walsender"),
        "PostgREST killed": kill_postgrest,
        "PostgREST suspended": suspend_postgrest,
        "gateway killed": ending_gateway(signal.SIGKILL),
        "gateway drained": ending_gateway(signal.SIGTERM),
        STORAGE_DISK_FULL: filling_disk(STORAGE_DISK_FULL),
    },
    "network": {
        "connections cut": interrupting(lambda proxy, _: proxy.cut()),
        "connections rejected": interrupting(lambda proxy, _: proxy.reject()),
        "connections stalled": interrupting(lambda proxy, _: proxy.stall()),
        "connections half-open": interrupting(lambda proxy, _: proxy.make_half_open()),
        "network slow": interrupting(lambda proxy, planned: proxy.slow(between(DELAYS_S, planned.level))),
        "server restarted": restart_network,
        "Realtime restarted": interrupting(_restart_realtime, "inner", "outer"),
        "messages out of order": interrupting(lambda proxy, _: proxy.disorder(), "inner", "outer"),
        "Storage failing": interrupting(_fail_storage, "inner", "outer"),
        "webhooks rejected": reject_webhooks,
    },
}
# Faults that each come with a recording, and the work during which they are most effective: the risk of a lease, or the
# status of a smelt.
WORK: Final = {
    "model killed": "model",
    "decoders killed": "decode",
    "extractor killed": "synthesizing",
    "worker killed": "model",
    "worker frozen beyond its lease": "model",
}
