"""The watchers of a run: Python, blocking Python, JavaScript, and readers of the gateway's event streams."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import httpx

from smelt import blocking
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update
from tests.acceptance.js_follower import JS, JsApp, js_app
from tests.chaos.clients import History, Owner
from tests.chaos.plan import Kind, Plan
from tests.chaos.site import Site
from tests.harness.sse_readers import Received, read_smelt
from tests.harness.stacks import TLS
from tests.harness.waiting import until

RETRY_S: Final = 0.2
STREAM_TIMEOUT_S: Final = 40.0
"""Longer than the time between two comments of a stream."""
END_TIMEOUT_S: Final = 1500.0
"""No promise: `deadlines` observes those."""
HEARTBEAT_MS: Final = 5_000
NO_JAVASCRIPT: Final = "run `npm install` in tests/js"


@dataclass
class Observation:
    """Everything that a watcher received of a smelt, in order.

    Attributes:
        states: Run, seq and percentage.
        segments: Run, index and text.
        ends: Run and status.
        late: The number of states and segments after an end.
    """

    kind: Kind
    smelt_id: UUID
    states: list[tuple[int, int, float]] = field(default_factory=list)
    segments: list[tuple[int, int, str]] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)
    late: int = 0

    def add_state(self, run: int, seq: int, percentage: float) -> None:
        """Add a state."""
        self.late += bool(self.ends)
        self.states.append((run, seq, percentage))

    def add_segments(self, segments: Iterable[tuple[int, int, str]]) -> None:
        """Add segments."""
        self.late += bool(self.ends)
        self.segments += segments

    def add(self, update: Update) -> None:
        """Add an update of the client."""
        match update:
            case Progress():
                self.add_state(update.run, update.seq, update.percentage)
            case Segments():
                self.add_segments((update.run, one.index, one.text) for one in update.segments)
            case Completed() | Failed():
                self.ends.append((update.run, update.status))

    def add_event(self, name: str, payload: Mapping[str, Any]) -> None:
        """Add an event of a stream."""
        run = payload["run"]
        if name == "progress":
            self.add_segments((run, one["index"], one["text"]) for one in payload["segments"])
            self.add_state(run, payload["seq"], payload["progress"]["percentage"])
        else:
            self.ends.append((run, name))


class Watch(Protocol):
    """Watches a smelt to its end."""

    async def __call__(self, smelt_id: UUID, owner: Owner, observed: Observation, /) -> None: ...


async def watch_in_python(smelt_id: UUID, owner: Owner, observed: Observation) -> None:
    async with aclosing(owner.client.watch(smelt_id)) as updates:
        async for update in updates:
            observed.add(update)


@asynccontextmanager
async def _blocking(site: Site, owners: Sequence[Owner], count: int) -> AsyncIterator[Watch]:
    public = site.public
    tokens = [owner.access_token for owner in owners]
    clients = {token: blocking.connect(public.api_url, public.anon_key, token) for token in tokens}
    threads = ThreadPoolExecutor(count)

    def watch(smelt_id: UUID, owner: Owner, observed: Observation) -> None:
        for update in clients[owner.access_token].watch(smelt_id):
            observed.add(update)

    async def run(*arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(threads, watch, *arguments)

    try:
        yield run
    finally:
        # In a thread: the proxies need this event loop.
        for client in clients.values():
            await asyncio.to_thread(client.close)
        await asyncio.to_thread(threads.shutdown)


class JavaScript:
    """Watchers in a process of Node."""

    def __init__(self, site: Site, app: JsApp) -> None:
        self._public = site.public
        self._app = app

    async def __call__(self, smelt_id: UUID, owner: Owner, observed: Observation) -> None:
        name, token = str(smelt_id), owner.access_token
        viewer = self._app.send(
            "open",
            name,
            url=self._public.api_url,
            key=self._public.anon_key,
            tokens=None if token is None else [token],
            heartbeatMs=HEARTBEAT_MS,
            going=name,
            ending=name,
        )
        ends = ("completed", "failed")
        await until(lambda: viewer.calls["view"] and viewer.of("ending", *ends), timeout_s=END_TIMEOUT_S)
        self._app.send("close", name)
        for call in viewer.calls["going"]:
            self._add(call, observed)
        assert len(viewer.of("ending", *ends)) == 1, viewer.calls["ending"]

    def _add(self, call: Mapping[str, Any], observed: Observation) -> None:
        match call["type"]:
            case "progress":
                observed.add_state(call["run"], call["seq"], call["percentage"])
            case "segments":
                observed.add_segments((call["run"], *one) for one in zip(call["indexes"], call["lines"], strict=True))
            case "completed" | "failed" as status:
                observed.ends.append((call["run"], status))
            # After the end of a failed smelt, the error is that of `done`.
            case "error":
                assert observed.ends, call


@asynccontextmanager
async def _event_streams(site: Site, owners: Sequence[Owner]) -> AsyncIterator[Watch]:
    async with AsyncExitStack() as opened:
        clients = {}
        for owner in owners:
            # A smelt of a visitor is read by the service.
            credential = owner.access_token or site.stack.service_role_key
            headers = {"Authorization": f"Bearer {credential}"}
            http = httpx.AsyncClient(base_url=site.front.url, headers=headers, timeout=STREAM_TIMEOUT_S, verify=TLS)
            clients[owner.access_token] = await opened.enter_async_context(http)

        async def watch(smelt_id: UUID, owner: Owner, observed: Observation) -> None:
            received = Received()
            while not received.ends:
                with suppress(httpx.TransportError):
                    path = f"/api/smelts/{smelt_id}/events"
                    status = await read_smelt(clients[owner.access_token], path, received)
                    assert status == httpx.codes.OK, status
                await asyncio.sleep(RETRY_S)
            for event in received.events:
                observed.add_event(*event)

        yield watch


class Watchers:
    """The watchers of a plan: each watches one smelt after another.

    Attributes:
        observed: What was received of each smelt, by its number.
        waiting: The smelts that are being watched, with the time since when.
        skipped: Why there are no watchers of a kind.
    """

    def __init__(self, plan: Plan, watches: Mapping[Kind, Watch], skipped: Sequence[str]) -> None:
        self.observed: dict[int, Observation] = {}
        self.waiting: dict[UUID, float] = {}
        self.skipped = skipped
        self._plan = plan
        self._watches = watches

    async def run(self, histories: Sequence[asyncio.Future[History]], owners: Sequence[Owner]) -> None:
        """Watch all smelts to their end."""
        async with asyncio.TaskGroup() as tasks:
            for first in range(min(self._plan.watchers, len(histories))):
                tasks.create_task(self._watch_some(histories, owners, first))

    async def _watch_some(
        self, histories: Sequence[asyncio.Future[History]], owners: Sequence[Owner], first: int
    ) -> None:
        planned = self._plan.kind(first)
        kind: Kind = planned if planned in self._watches else "python"
        watch = self._watches[kind]
        for number in range(first, len(histories), self._plan.watchers):
            history = await asyncio.shield(histories[number])
            observed = self.observed[number] = Observation(kind, history.smelt_id)
            self.waiting[history.smelt_id] = time.monotonic()
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await watch(history.smelt_id, owners[history.planned.owner], observed)
            except TimeoutError:
                raise AssertionError(f"no end within {END_TIMEOUT_S:.0f} s: {observed}") from None
            del self.waiting[history.smelt_id]


@asynccontextmanager
async def connected_watchers(site: Site, owners: Sequence[Owner], plan: Plan) -> AsyncIterator[Watchers]:
    """Connect watchers of every kind; Python replaces JavaScript where that can't run."""
    async with AsyncExitStack() as opened:
        watches: dict[Kind, Watch] = {
            "python": watch_in_python,
            "blocking": await opened.enter_async_context(_blocking(site, owners, plan.watchers)),
            "sse": await opened.enter_async_context(_event_streams(site, owners)),
        }
        skipped = []
        if shutil.which("node") is None or not (JS / "node_modules").exists():
            skipped.append(f"JavaScript: {NO_JAVASCRIPT}")
        else:
            watches["javascript"] = JavaScript(site, await opened.enter_async_context(js_app("node.mjs")))
        yield Watchers(plan, watches, skipped)
