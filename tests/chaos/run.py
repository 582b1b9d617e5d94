"""One run: the servers, and rounds of smelts under faults, each of which is checked."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

from smelt.backend.project import Project
from smelt.contract.events import Segment
from smelt.contract.state import Snapshot
from smelt.local import StackHandle
from smelt.subscriber.client import connect
from tests.chaos import checker
from tests.chaos.checker import Undisturbed
from tests.chaos.clients import Clients, History, Owner, create, owners_of
from tests.chaos.feeds import recorded_feeds
from tests.chaos.hooks import running_hooks
from tests.chaos.injections import DISK_FULL, LANES, WORK, Injector, small_disk
from tests.chaos.plan import RECORDINGS, TEXTS, Plan, PlannedFault, PlannedSmelt
from tests.chaos.samples import Sampler, assert_flat, assert_released
from tests.chaos.service import EXTERNAL_MODEL, external_service
from tests.chaos.site import Site, running_site
from tests.chaos.watchers import Watchers, connected_watchers
from tests.chaos.workers import DISPATCHING_WORKERS
from tests.harness.external_services import Service
from tests.harness.gateways import SIGNING_KEY
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import sign_up

SAMPLE_INTERVAL_S: Final = 5.0
END_TIMEOUT_S: Final = 200.0
DISPATCH_LEASE_S: Final = 5
POLL_S: Final = 0.2
READS_AT_A_TIME: Final = 10
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
    seconds: float
    dispatched: int = 0

    def dump(self) -> str:
        """Return the outcome as a line of JSON."""
        return json.dumps(asdict(self))


async def play(
    stack: StackHandle, folder: Path, plan: Plan, *, rounds: int = 1, write: Callable[[str], object] = print
) -> list[Outcome]:
    """Run rounds of a plan, each with the next seed; assert after each that all smelts have ended as they should."""
    async with AsyncExitStack() as opened:
        disk = folder / "disk"
        obstacle = opened.enter_context(small_disk(disk))
        site = await opened.enter_async_context(running_site(stack, folder, plan, None if obstacle else disk))
        references = await transcribe_undisturbed(site)
        texts = {source: _segments(reference) for source, reference in references.items()}
        service = await opened.enter_async_context(external_service(plan, texts))
        start_dispatching_workers(site, service)
        sampler, outcomes = Sampler(site, write), list[Outcome]()
        samples = [await sampler.take("start")]
        for number in range(rounds):
            round_plan = replace(plan, seed=plan.seed + number)
            job_count = len(service.received)
            outcome = await play_round(site, round_plan, references, sampler)
            outcome.dispatched = len(service.received) - job_count
            outcome.skipped += [f"{DISK_FULL}: {obstacle}"] if obstacle else []
            write(outcome.dump())
            outcomes.append(outcome)
            if rounds > 1:
                await delete_all(site)
            samples.append(await sampler.take("end of a round"))
            assert_released(samples[0], samples[-1])
        await site.workers.drain()
        assert_flat(samples[1], samples[-1])
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
    started_s = time.monotonic()
    injector = Injector(site, plan)
    async with AsyncExitStack() as opened:
        owners = await opened.enter_async_context(owners_of(site))
        hooks = await opened.enter_async_context(running_hooks(site, owners[0]))
        watchers = await opened.enter_async_context(connected_watchers(site, owners, plan))
        feeds = await opened.enter_async_context(recorded_feeds(owners))
        sampling = asyncio.create_task(sampler.run(SAMPLE_INTERVAL_S))
        opened.callback(sampling.cancel)
        histories = await inject_faults(plan, injector, owners, watchers)
        await until_nothing_left(site)
        assert not sampling.done(), sampling.result()
        evidence = checker.Evidence(
            histories=histories,
            states=await states_of(site, [history.smelt_id for history in histories]),
            observed=watchers.observed,
            references=references,
            hooks=hooks,
            deaths=injector.deaths,
            outbox_age_s=sampler.outbox_age_s,
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


async def states_of(site: Site, smelt_ids: Sequence[UUID]) -> dict[UUID, Snapshot]:
    """Return the states of smelts by id."""
    places = asyncio.Semaphore(READS_AT_A_TIME)
    async with connect(site.stack.api_url, site.stack.service_role_key) as service:

        async def one(smelt_id: UUID) -> Snapshot:
            async with places:
                return await service.get(smelt_id)

        states = await asyncio.gather(*map(one, smelt_ids))
    return {state.id: state for state in states}


async def until_nothing_left(site: Site) -> None:
    """Wait until nothing is left of the work on ended smelts."""
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while left := await checker.left_behind(site):
        assert time.monotonic() < deadline_s, left
        await asyncio.sleep(POLL_S)


async def delete_all(site: Site) -> None:
    """Delete all smelts, and wait until the workers have removed their objects."""
    async with connect(site.stack.api_url, site.stack.service_role_key) as service:
        for (smelt_id,) in await site.database.rows("select id from public.smelts"):
            await service.delete(smelt_id)
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while left := await site.database.rows("select name from storage.objects"):
        assert time.monotonic() < deadline_s, left
        await asyncio.sleep(POLL_S)


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
        skipped=list(watchers.skipped),
        seconds=round(seconds, 1),
    )
