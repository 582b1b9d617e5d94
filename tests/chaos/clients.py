"""The clients of a run: they create smelts with idempotency keys, and cancel and retry some at random."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from smelt.contract.options import SmeltOptions
from smelt.contract.state import Created, Snapshot
from smelt.errors import TransientError
from smelt.subscriber.client import Client, connect
from tests.chaos.plan import OWNERS, Plan, PlannedSmelt
from tests.chaos.service import EXTERNAL_MODEL
from tests.chaos.site import Site
from tests.harness.stacks import User, sign_up
from tests.harness.worker_harness import RECORDINGS, STANDUP

RETRY_S: Final = 0.2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Owner:
    """A user, or all visitors together, with a client of its own; `batch_id` is a batch of the user."""

    user: User | None
    client: Client
    batch_id: UUID | None

    @property
    def access_token(self) -> str | None:
        """The token of the user."""
        return None if self.user is None else self.user.access_token


@dataclass
class History:
    """The calls of a client about a smelt: `cancelled_runs` are those that one of them may have cancelled."""

    smelt_id: UUID
    planned: PlannedSmelt
    last_run: int = 1
    cancelled_runs: set[int] = field(default_factory=set)


@asynccontextmanager
async def owners_of(site: Site) -> AsyncIterator[Sequence[Owner]]:
    """Sign up the users of a run, and connect a client of each over the network with the faults."""
    public = site.public
    async with AsyncExitStack() as opened:
        users = [*(await asyncio.gather(*(asyncio.to_thread(sign_up, site.stack) for _ in range(OWNERS - 1)))), None]
        owners = []
        for user in users:
            token = None if user is None else user.access_token
            client = await opened.enter_async_context(connect(public.api_url, public.anon_key, token))
            batch_id = None if user is None else (await client.create_batch("chaos")).id
            owners.append(Owner(user, client, batch_id))
        yield owners


class Clients:
    """Creates the smelts of a plan, and cancels and retries them as planned.

    `histories` has an entry for each planned smelt, which is done once the smelt is created.
    """

    def __init__(self, plan: Plan, owners: Sequence[Owner], tasks: asyncio.TaskGroup) -> None:
        self._owners = owners
        self._tasks = tasks
        self._waiting = {is_recording: plan.smelts(is_recording) for is_recording in (True, False)}
        count = plan.texts + plan.recordings
        self.histories: list[asyncio.Future[History]] = [asyncio.Future() for _ in range(count)]

    def create_next(self, *, recording: bool) -> None:
        """Create the next recording or text, if there is one left."""
        if self._waiting[recording]:
            self._tasks.create_task(self._run(self._waiting[recording].pop(0)))

    async def create_texts(self, seconds: float) -> None:
        """Create all texts within a time."""
        interval_s = seconds / max(1, len(self._waiting[False]))
        while self._waiting[False]:
            self.create_next(recording=False)
            await asyncio.sleep(interval_s)

    def create_rest(self) -> None:
        """Create all others."""
        while self._waiting[True]:
            self.create_next(recording=True)

    async def _run(self, planned: PlannedSmelt) -> None:
        owner = self._owners[planned.owner]
        created = await create(owner, planned)
        history = History(created.id, planned)
        self.histories[planned.number].set_result(history)
        for action, delay_s in zip(planned.actions, planned.delays_s, strict=True):
            await asyncio.sleep(delay_s)
            if action == "cancel":
                history.cancelled_runs.add(history.last_run)
                await until_accepted(lambda: owner.client.cancel(created.id))
            else:
                state = await _retry(owner.client, created.id)
                history.last_run = state.run


async def _retry(client: Client, smelt_id: UUID) -> Snapshot:
    return await until_accepted(lambda: client.retry(smelt_id))


async def create(owner: Owner, planned: PlannedSmelt) -> Created:
    """Create a smelt by several calls with the same key, each repeated until the project has responded."""
    key = str(uuid4())
    files = [STANDUP if planned.source == STANDUP.name else RECORDINGS / planned.source]
    given: dict[str, Any] = {"files": files} if planned.is_recording else {"text": planned.source}
    if planned.is_dispatched:
        given["options"] = SmeltOptions(model=EXTERNAL_MODEL)
    if planned.is_in_batch:
        given["batch_id"] = owner.batch_id

    async def call() -> Created:
        return await owner.client.create(idempotency_key=key, metadata={"number": planned.number}, **given)

    first, *others = await asyncio.gather(*(until_accepted(call) for _ in range(planned.create_calls)))
    assert {other.id for other in others} <= {first.id}
    return first


async def until_accepted(call: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat a call until the project has responded."""
    while True:
        try:
            return await call()
        except TransientError:
            await asyncio.sleep(RETRY_S)
