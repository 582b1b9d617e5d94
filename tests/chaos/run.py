"""One run: the servers, and rounds of smelts under faults, each of which is checked."""

import asyncio
import gc
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from smelt.backend.project import Project
from smelt.contract.events import Segment
from smelt.contract.state import Snapshot
from smelt.local import StackHandle
from smelt.subscriber.client import connect
from tests.chaos import checker
from tests.chaos.checker import Undisturbed
from tests.chaos.clients import Clients, History, Owner, create, owners_of
from tests.chaos.deadlines import Slowdown, observe_deadlines
from tests.chaos.disks import small_disks
from tests.chaos.feeds import recorded_feeds
from tests.chaos.hooks import running_hooks
from tests.chaos.injections import LANES, WORK, Injector
from tests.chaos.plan import RECORDINGS, TEXTS, Plan, PlannedFault, PlannedSmelt
from tests.chaos.samples import Sample, Sampler, figures
from tests.chaos.service import EXTERNAL_MODEL, external_service
from tests.chaos.site import Site, running_site
from tests.chaos.watchers import Watchers, connected_watchers
from tests.chaos.workers import DISPATCHING_WORKERS
from tests.harness.background import in_background
from tests.harness.external_services import Service
from tests.harness.gateways import SIGNING_KEY
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import sign_up

SAMPLE_INTERVAL_S: Final = 5.0
END_TIMEOUT_S: Final = 400.0
DISPATCH_LEASE_S: Final = 5
POLL_S: Final = 0.2
CALLS_AT_A_TIME: Final = 10
Result = TypeVar("Result")
References = Mapping[str, Undisturbed]
"""What an undisturbed run made of each source."""


@dataclass
class Outcome:
    """The result of a round: the faults by kind that had something to act on, or had not, and what was skipped."""

    seed: int
    smelts: int
    ends: dict[str, int]
    watched: dict[str, int]
    faults: dict[str, int]
    in_vain: dict[str, int]
    attempts: int
    failures: int
    requests: dict[str, int]
    noticed_s: list[float]
    skipped: list[str]
    slowdown: float
    seconds: float
    dispatched: int = 0

    def dump(self) -> str:
        """Return the outcome as a line of JSON."""
        return json.dumps(asdict(self))


async def play(
    stack: StackHandle, folder: Path, plan: Plan, *, rounds: int = 1, write: Callable[[str], object] = print
) -> list[Outcome]:
    """Run rounds of a plan, each with the next seed; assert after each that all smelts have ended as they should.

    With several rounds, all is deleted after each, and what the run uses must not grow from round to round.
    """
    async with AsyncExitStack() as opened:
        disks = opened.enter_context(small_disks(stack, folder))
        site = await opened.enter_async_context(running_site(stack, folder, plan, disks))
        references = await transcribe_undisturbed(site)
        texts = {source: _segments(reference) for source, reference in references.items()}
        service = await opened.enter_async_context(external_service(plan, texts))
        start_dispatching_workers(site, service)
        sampler, outcomes, samples = Sampler(site, write), list[Outcome](), list[Sample]()
        start = await sampler.take("start")
        for number in range(rounds):
            job_count = len(service.received)
            with _naming(plan.seed + number):
                outcome = await play_round(site, replace(plan, seed=plan.seed + number), references, sampler)
            outcome.dispatched = len(service.received) - job_count
            write(outcome.dump())
            outcomes.append(outcome)
            if rounds > 1:
                await delete_all(site)
            await sampler.until_released(start)
            gc.collect()
            samples.append(await sampler.take("end of a round"))
        await site.workers.drain()
    found = figures(samples)
    for figure in found:
        write(figure.dump())
    assert all(figure.is_flat for figure in found), [figure for figure in found if not figure.is_flat]
    return outcomes


def start_dispatching_workers(site: Site, service: Service) -> None:
    """Start the workers that dispatch to an external service."""
    settings = {
        "SMELT_DISPATCH_URL": service.url,
        "SMELT_DISPATCH_MODELS": EXTERNAL_MODEL,
        "SMELT_DISPATCH_LEASE_S": str(DISPATCH_LEASE_S),
        "SMELT_GATEWAY_URL": site.gateway.url,
        "SMELT_SIGNING_KEYS": SIGNING_KEY,
    }
    for name in DISPATCHING_WORKERS:
        site.workers.start(name, **settings)


async def play_round(site: Site, plan: Plan, references: References, sampler: Sampler) -> Outcome:
    """Run the smelts of a plan under its faults; assert that all have ended as they should."""
    started_s, slowdown = time.monotonic(), Slowdown()
    async with AsyncExitStack() as opened:
        owners = await opened.enter_async_context(owners_of(site))
        hooks = await opened.enter_async_context(running_hooks(site, owners[0], plan))
        watchers = await opened.enter_async_context(connected_watchers(site, owners, plan))
        feeds = await opened.enter_async_context(recorded_feeds(owners))
        injector = Injector(site, hooks, plan)
        async with in_background(sampler.run(SAMPLE_INTERVAL_S), observe_deadlines(site, lambda: watchers.waiting)):
            histories = await inject_faults(plan, injector, owners, watchers)
            await until_nothing_left(site)
        evidence = checker.Evidence(
            histories=histories,
            states=await states_of(site, [history.smelt_id for history in histories]),
            observed=watchers.observed,
            references=references,
            hooks=hooks,
            deaths=injector.deaths,
            outbox_age_s=sampler.outbox_age_s,
            slowdown=slowdown.ratio,
            pending_ends=await hooks.accepting.pending_ends(site),
        )
        await checker.check(site, evidence)
        async with Project(site.stack.api_url, site.stack.service_role_key) as service:
            await feeds.check(ScriptedWorker(service))
        return await _outcome(site, plan, injector, evidence, watchers, time.monotonic() - started_s)


async def inject_faults(plan: Plan, injector: Injector, owners: Sequence[Owner], watchers: Watchers) -> list[History]:
    """Create, cancel, retry and watch the smelts of a plan while there are faults, until all have been watched."""
    until_s = time.monotonic() + plan.seconds
    async with asyncio.TaskGroup() as tasks:
        clients = Clients(plan, owners, tasks)
        tasks.create_task(watchers.run(clients.histories, owners))
        tasks.create_task(clients.create_texts(plan.seconds))

        def before(planned: PlannedFault) -> None:
            if planned.name in WORK:
                clients.create_next(recording=True)

        async with asyncio.TaskGroup() as lanes:
            for lane in LANES:
                lanes.create_task(injector.run(lane, until_s, before))
        clients.create_rest()
    return [history.result() for history in clients.histories]


async def transcribe_undisturbed(site: Site) -> References:
    """Return the transcript of each source without any fault."""
    user = await asyncio.to_thread(sign_up, site.stack)
    async with connect(site.stack.api_url, site.stack.anon_key, user.access_token) as client:
        owner = Owner(user, client, None)

        async def one(source: str) -> Undisturbed:
            planned = PlannedSmelt(0, 0, source, source in RECORDINGS, False, False, 1, (), ())
            created = await create(owner, planned)
            await client.wait(created.id, timeout_s=END_TIMEOUT_S)
            reference = checker.undisturbed(await client.get(created.id))
            await client.delete(created.id)
            return reference

        sources = (*RECORDINGS, *TEXTS)
        return dict(zip(sources, await asyncio.gather(*map(one, sources)), strict=True))


async def states_of(site: Site, smelt_ids: Iterable[UUID]) -> dict[UUID, Snapshot]:
    """Return the states of smelts by id."""
    async with connect(site.stack.api_url, site.stack.service_role_key) as service:
        states = await _for_each(service.get, smelt_ids)
    return {state.id: state for state in states}


async def until_nothing_left(site: Site) -> None:
    """Wait until nothing is left of the work on ended smelts."""
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while left := await checker.left_behind(site):
        assert time.monotonic() < deadline_s, left
        await asyncio.sleep(POLL_S)


async def delete_all(site: Site) -> None:
    """Delete all smelts, and wait until the workers have removed their objects."""
    smelt_ids = [smelt_id for (smelt_id,) in await site.database.rows("select id from public.smelts")]
    async with connect(site.stack.api_url, site.stack.service_role_key) as service:
        await _for_each(service.delete, smelt_ids)
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while left := await site.database.rows("select name from storage.objects"):
        assert time.monotonic() < deadline_s, left
        await asyncio.sleep(POLL_S)


async def _for_each(call: Callable[[UUID], Awaitable[Result]], smelt_ids: Iterable[UUID]) -> list[Result]:
    """Return the results of a call for each smelt, a few at a time."""
    places = asyncio.Semaphore(CALLS_AT_A_TIME)

    async def one(smelt_id: UUID) -> Result:
        async with places:
            return await call(smelt_id)

    return await asyncio.gather(*map(one, smelt_ids))


@contextmanager
def _naming(seed: int) -> Iterator[None]:
    """Add the command that repeats a round to its error."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"To repeat this round: scripts/chaos --seed {seed}")
        raise


def _segments(reference: Undisturbed) -> list[Segment]:
    return [Segment(index=index, start=start, end=end, text=text) for index, start, end, text in reference.segments]


async def _outcome(
    site: Site, plan: Plan, injector: Injector, evidence: checker.Evidence, watchers: Watchers, seconds: float
) -> Outcome:
    noticed = await checker.notice_times_s(site, evidence.deaths)
    return Outcome(
        seed=plan.seed,
        smelts=len(evidence.states),
        ends=dict(Counter(state.status for state in evidence.states.values())),
        watched=dict(Counter(observed.kind for observed in evidence.observed.values())),
        faults=dict(injector.injected),
        in_vain=dict(injector.in_vain),
        attempts=await site.database.count("select count(*) from smelt.attempts"),
        failures=await site.database.count("select count(*) from smelt.attempts where is_failure"),
        requests={name: len(hook.endpoint.requests) for name, hook in evidence.hooks.named().items()},
        noticed_s=[round(one, 1) for one in noticed],
        skipped=[*watchers.skipped, *(f"{fault}: {reason}" for fault, reason in site.disks.skipped.items())],
        slowdown=round(evidence.slowdown, 1),
        seconds=round(seconds, 1),
    )
