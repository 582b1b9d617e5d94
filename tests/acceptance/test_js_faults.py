"""The JavaScript package loses no line of a transcript and no end in any fault, over Supabase and over a gateway."""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import jwt
import pytest

from smelt.backend.project import Project
from smelt.contract.channels import smelt_channel
from smelt.local import StackHandle
from smelt.subscriber.client import connect
from tests.acceptance.gateway_process import GatewayProcess, gateway_process
from tests.acceptance.js_follower import JS, JsApp, Viewer, js_app
from tests.harness.faults import FAULTS, Inject, Topics, rejecting
from tests.harness.gateways import options_for, running_gateway
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.scripted_worker import Job, ScriptedWorker
from tests.harness.stacks import User, running_with_settings, sign_up
from tests.harness.waiting import until

LINES: Final = [f"line {number}" for number in range(240)]
BEFORE, MEANWHILE = 53, 200
STEP: Final = 20
READS: Final = "/rest/v1/rpc/get_smelts"
CHROMIUM: Final = Path("/usr/bin/chromium")
LOST: Final = range(93, 133)
HEALED_TIMEOUT_S: Final = 60.0
SESSION_LIFETIME_S: Final = 5
FROZEN_S: Final = 4.0
LONG_HEARTBEAT_MS: Final = 25_000
SHORT_HEARTBEAT_MS: Final = 1_000
GATEWAY_EXIT_TIMEOUT_S: Final = 30.0

pytestmark = [
    pytest.mark.timeout(480),  # The first test waits for the outcomes of all cases.
    pytest.mark.own_project("whose only worker and whose JWT secret are those of the test"),
    pytest.mark.skipif(
        shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
    ),
]


Noticed = Callable[[Sequence[dict[str, Any]]], bool]


def lost(connection: Sequence[dict[str, Any]]) -> bool:
    """Return True once the channel was lost."""
    return any(call["status"] == "polling" for call in connection)


def timed_out(connection: Sequence[dict[str, Any]]) -> bool:
    """Return True once a read or a join has timed out in the app."""
    return any("no response within" in call.get("error", "") for call in connection)


def reported(connection: Sequence[dict[str, Any]]) -> bool:
    """Return True once an error was reported, also of a read while the channel is joined."""
    return any("error" in call for call in connection)


Route = Literal["supabase", "gateway", "behind the gateway"]
"""The connection with the fault: of the app to the project, of the app to a gateway, or of a gateway to the project."""
Entered = TypeVar("Entered")


@dataclass(frozen=True)
class Case:
    """A fault, and the app that meets it.

    The fault does not end before `noticed` is true of the connection events since its begin. `lifetimes_s` are those of
    the tokens that the app's token function returns one after another; none for a session of supabase-js, which it
    renews itself. With `kills_worker`, the worker dies meanwhile, and another attempt goes on.
    """

    inject: Inject
    noticed: Noticed | None = lost
    heartbeat_ms: int = LONG_HEARTBEAT_MS
    lifetimes_s: Sequence[float] = (3600,)
    route: Route = "supabase"
    kills_worker: bool = False


@asynccontextmanager
async def unanswered(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
    """The socket is reset, and the handshake of the next one is never answered."""
    accepted = proxy.accepted["realtime"]
    proxy.stall("realtime")
    proxy.cut("realtime")
    yield
    await until(lambda: proxy.accepted["realtime"] > accepted)
    proxy.make_half_open("realtime")
    proxy.heal()


@asynccontextmanager
async def only_waiting(_: FaultyProxy, __: Topics) -> AsyncIterator[None]:
    """No fault of the network: a token expires, or the worker dies."""
    yield


CASES: Final[dict[str, Case]] = {
    # The remaining fault changes the clock of this process.
    **{name: Case(fault.inject, lost if fault.breaks else None) for name, fault in FAULTS.items() if not fault.alone},
    # Only a heartbeat without a reply detects these.
    **{name: Case(FAULTS[name].inject, heartbeat_ms=SHORT_HEARTBEAT_MS) for name in ("half-open", "blackholed")},
    # supabase-js throws. In Node 20 its socket is silent afterwards; elsewhere it continues.
    **{
        name: Case(FAULTS[name].inject, None, heartbeat_ms=SHORT_HEARTBEAT_MS)
        for name in ("frame over 1 MiB", "malformed frames")
    },
    "handshake without a response": Case(unanswered),
    "PostgREST gone": Case(FAULTS["PostgREST gone"].inject, reported),
    "token of a function expired": Case(only_waiting, lifetimes_s=(*range(4, 120, 4), 3600)),
    "token of a session expired": Case(only_waiting, lifetimes_s=()),
    "worker killed": Case(only_waiting, None, kills_worker=True),
}

# Faults of Realtime's protocol and of its sockets are those of the project: behind a gateway, the gateway meets them.
GATEWAY_CASES: Final[dict[str, Case]] = {
    "reset": Case(FAULTS["reset"].inject, route="gateway"),
    # Only the comments that are missing for 35 s detect these.
    "half-open": Case(FAULTS["half-open"].inject, route="gateway"),
    "blackholed": Case(FAULTS["blackholed"].inject, route="gateway"),
    "unreachable": Case(rejecting("rest"), route="gateway"),
    "token of a function expired": Case(only_waiting, lifetimes_s=(*range(4, 120, 4), 3600), route="gateway"),
    "worker killed": Case(only_waiting, None, route="gateway", kills_worker=True),
    # The streams of the gateway stay open meanwhile.
    **{
        f"{name} behind it": Case(FAULTS[name].inject, None, route="behind the gateway")
        for name in ("rejected", "half-open", "server restart", "PostgREST gone")
    },
}
MORE_GATEWAY_CASES: Final = ("killed and drained", "asleep")


MORE_CASES: Final = ("token never returned", "frozen", "asleep")
CHROMIUM_CASES: Final = (
    "reset",
    "half-open",
    "server restart",
    "handshake without a response",
    "token of a function expired",
    "token of a session expired",
)
CHROMIUM_GATEWAY_CASES: Final = ("reset", "token of a function expired")


def over_gateway(name: str) -> str:
    """Return the name of a case whose app connects to a gateway."""
    return f"{name}, over a gateway"


def frozen(app: JsApp, *, half_open: bool) -> Inject:
    """Return a fault: the process is frozen beyond its heartbeat; with `half_open`, its connections do not survive."""

    @asynccontextmanager
    async def inject(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
        app.freeze()
        if half_open:
            proxy.make_half_open()
        yield
        await asyncio.sleep(FROZEN_S)
        app.thaw()

    return inject


def hanging(app: JsApp, name: str) -> Inject:
    """Return a fault: calls of the app's token function never return, and the socket is reset."""

    @asynccontextmanager
    async def inject(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
        app.send("hang", name, isHanging=True)
        proxy.cut("realtime")
        yield
        app.send("hang", name, isHanging=False)

    return inject


def replacing(gateways: "Gateways") -> Inject:
    """Return a fault: the gateway is killed, another one starts at its address, and a third one after a drain."""

    @asynccontextmanager
    async def inject(_: FaultyProxy, __: Topics) -> AsyncIterator[None]:
        await gateways.end(signal.SIGKILL)
        yield
        await gateways.start()
        await gateways.end(signal.SIGTERM)
        await gateways.start()

    return inject


class Gateways:
    """Gateways in processes, one after another at the same address."""

    def __init__(self, opened: AsyncExitStack, stack: StackHandle, folder: Path) -> None:
        self._opened = opened
        self._stack = stack
        self._folder = folder
        self._running: list[GatewayProcess] = []

    @property
    def url(self) -> str:
        """The address."""
        return self._running[0].url

    async def start(self) -> None:
        """Start the next one."""
        log = self._folder / f"gateway-{len(self._running)}.log"
        port = int(self.url.rpartition(":")[2]) if self._running else 0
        started = gateway_process(self._stack.env(), log, port)
        self._running.append(await self._opened.enter_async_context(in_thread(started)))

    async def end(self, number: signal.Signals) -> None:
        """End the current one with a signal."""
        process = self._running[-1].process
        process.send_signal(number)
        await asyncio.to_thread(process.wait, GATEWAY_EXIT_TIMEOUT_S)


@asynccontextmanager
async def in_thread(context: AbstractContextManager[Entered]) -> AsyncIterator[Entered]:
    """Enter and leave a context whose code blocks."""
    entered = await asyncio.to_thread(context.__enter__)
    try:
        yield entered
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


@dataclass
class Outcome:
    """A case that ended: the calls to its app, and the seconds from the end of the fault until all lines were there."""

    viewer: Viewer
    healed_s: float = 0.0
    reads_while_hidden: int = 0
    socket_count: int = 0


class Trial:
    """Runs cases against one project, each with a proxy, a user and two smelts of its own.

    Args:
        gateway_url: The gateway of cases with a fault in front of it.
    """

    def __init__(self, stack: StackHandle, scripted_worker: ScriptedWorker, gateway_url: str) -> None:
        self._stack = stack
        self._worker = scripted_worker
        self._gateway_url = gateway_url

    async def run(self, name: str, case: Case, app: JsApp, gateway_url: str | None = None) -> Outcome:
        """Emit lines before, during and after a fault; another smelt ends during it, and one subscription is ended."""
        user = await asyncio.to_thread(sign_up, self._stack)
        async with self._connection(case.route, gateway_url) as (proxy, url):
            going, ending = await self._claimed(user)
            topics = [smelt_channel(str(job.claim.id)) for job in (going, ending)]
            viewer = app.send("open", name, url=url, **self._options(case, user, going, ending))
            await until(lambda: viewer.is_live and viewer.of("ending", "connected"), timeout_s=HEALED_TIMEOUT_S)
            await emit(going, 0, BEFORE)
            await until(lambda: viewer.lines == LINES[:BEFORE])
            seen = len(viewer.connection)
            async with case.inject(proxy, topics):
                app.send("unsubscribe", name)
                if case.kills_worker:
                    going = await self._taken_over(going)
                await emit(going, BEFORE, MEANWHILE)
                await ending.complete()
                if not app.is_frozen:
                    noticed = case.noticed
                    await until(
                        lambda: noticed is None or noticed(viewer.connection[seen:]), timeout_s=HEALED_TIMEOUT_S
                    )
            outcome = Outcome(viewer, time.monotonic())
            await until(lambda: viewer.is_live and viewer.lines == LINES[:MEANWHILE], timeout_s=HEALED_TIMEOUT_S)
            outcome.healed_s = time.monotonic() - outcome.healed_s
            await emit(going, MEANWHILE, len(LINES))
            await going.complete()
            await until(lambda: viewer.ends and viewer.of("ending", "completed"))
            app.send("close", name)
            await until(lambda: viewer.of("client", "closed"))
            outcome.socket_count = proxy.accepted["realtime"]
        return outcome

    @asynccontextmanager
    async def _connection(self, route: Route, gateway_url: str | None) -> AsyncIterator[tuple[FaultyProxy, str]]:
        """Yield the proxy of a case, and the URL for its app."""
        target = self._stack.api_url if route != "gateway" else gateway_url or self._gateway_url
        async with faulty_proxy(target) as proxy:
            if route != "behind the gateway":
                yield proxy, proxy.url
                return
            async with in_thread(running_gateway(options_for(self._stack, url=proxy.url))) as gateway:
                yield proxy, gateway.url

    async def _taken_over(self, job: Job) -> Job:
        """Let the lease of a job expire, as that of a dead worker; return the next attempt, which has started."""
        await self._worker.calls.renew_leases("scripted", [(job.claim.id, job.claim.attempt)], lease_s=0)
        next_attempt = await self._worker.claim(job.claim.id)
        assert next_attempt.claim.attempt > job.claim.attempt
        await next_attempt.report("validating", 1)
        return next_attempt

    async def hide(self, browser: JsApp) -> Outcome:
        """Poll in two pages without Realtime until the visible one has read three times while the other was hidden."""
        user = await asyncio.to_thread(sign_up, self._stack)
        async with faulty_proxy(self._stack.api_url) as proxy, faulty_proxy(self._stack.api_url) as other:
            for each in (proxy, other):
                each.reject("realtime")
            going, ending = await self._claimed(user)
            options = self._options(Case(only_waiting), user, going, ending)
            viewer = browser.send("open", "hidden page", url=proxy.url, **options)
            visible = browser.send("open", "visible page", url=other.url, **options)
            await emit(going, 0, BEFORE)
            await until(lambda: viewer.lines == visible.lines == LINES[:BEFORE])
            browser.send("hide", "hidden page")
            reads, visible_reads = proxy.requests[READS], other.requests[READS]
            await until(lambda: other.requests[READS] >= visible_reads + 3)
            outcome = Outcome(viewer, reads_while_hidden=proxy.requests[READS] - reads)
            await emit(going, BEFORE, len(LINES))
            browser.send("show", "hidden page")
            await until(lambda: viewer.lines == LINES)
            await going.complete()
            await ending.complete()
            await until(lambda: viewer.ends and viewer.of("ending", "completed"))
        return outcome

    async def _claimed(self, user: User) -> tuple[Job, Job]:
        token = short_lived(self._stack, user, 3600)
        async with connect(self._stack.api_url, self._stack.anon_key, token) as direct:
            going, ending = [await direct.create(text="Ship it on Monday.") for _ in range(2)]
        return await self._worker.claim(going.id), await self._worker.claim(ending.id)

    def _options(self, case: Case, user: User, going: Job, ending: Job) -> dict[str, object]:
        tokens = [short_lived(self._stack, user, lifetime_s) for lifetime_s in case.lifetimes_s]
        return {
            "key": self._stack.anon_key,
            "heartbeatMs": case.heartbeat_ms,
            "going": str(going.claim.id),
            "ending": str(ending.claim.id),
            "overGateway": case.route != "supabase",
            **({"tokens": tokens} if tokens else {"credentials": {"email": user.email, "password": user.password}}),
        }


def short_lived(stack: StackHandle, user: User, lifetime_s: float) -> str:
    """Return a copy of a user's token that expires in `lifetime_s`."""
    claims = jwt.decode(user.access_token, options={"verify_signature": False})
    return jwt.encode(claims | {"exp": int(time.time() + lifetime_s)}, stack.jwt_secret, algorithm="HS256")


async def emit(job: Job, first: int, last: int) -> None:
    """Write some of the lines and broadcast them, except for lost ones."""
    for start in range(first, last, STEP):
        words = LINES[start : min(start + STEP, last)]
        await job.report("transcribing", 20 + start / 6, words=words, first=start, broadcast=start not in LOST)


async def all_outcomes(stack: StackHandle, folder: Path) -> dict[str, Outcome | BaseException]:
    """Run all cases at the same time: most of them in one process, those in which it is frozen in another one each."""
    async with AsyncExitStack() as running:
        project = await running.enter_async_context(Project(stack.api_url, stack.service_role_key))
        options = options_for(stack, allowed_origins=("*",))
        gateway = await running.enter_async_context(in_thread(running_gateway(options)))
        gateways = Gateways(running, stack, folder)
        await gateways.start()
        trial = Trial(stack, ScriptedWorker(project), gateway.url)
        shared, intact, dead, dead_over_gateway = [
            await running.enter_async_context(js_app("node.mjs")) for _ in range(4)
        ]
        given = {name: (case, shared) for name, case in CASES.items()}
        given |= {over_gateway(name): (case, shared) for name, case in GATEWAY_CASES.items()}
        asleep = Case(frozen(dead, half_open=True), None, SHORT_HEARTBEAT_MS, (FROZEN_S - 1, 3600))
        given |= {
            "token never returned": (Case(hanging(shared, "token never returned"), timed_out), shared),
            "frozen": (Case(frozen(intact, half_open=False), None, SHORT_HEARTBEAT_MS), intact),
            "asleep": (asleep, dead),
            over_gateway("asleep"): (
                replace(asleep, inject=frozen(dead_over_gateway, half_open=True), route="gateway"),
                dead_over_gateway,
            ),
        }
        if CHROMIUM.exists():
            browser = await running.enter_async_context(js_app("browser.mjs"))
            given |= {f"{name} in Chromium": (CASES[name], browser) for name in CHROMIUM_CASES}
            given |= {
                over_gateway(f"{name} in Chromium"): (GATEWAY_CASES[name], browser) for name in CHROMIUM_GATEWAY_CASES
            }
        trials = {name: trial.run(name, case, app) for name, (case, app) in given.items()}
        name = over_gateway("killed and drained")
        trials[name] = trial.run(name, Case(replacing(gateways), route="gateway"), shared, gateways.url)
        if CHROMIUM.exists():
            trials["hidden page"] = trial.hide(browser)
        return dict(zip(trials, await asyncio.gather(*trials.values(), return_exceptions=True), strict=True))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    """A project with short sessions, and without the limit of a free plan: many apps are busy at the same time."""
    sections = {"auth": {"jwt_expiry": SESSION_LIFETIME_S}, "realtime": {"max_events_per_second": 10_000}}
    with running_with_settings(tmp_path_factory.mktemp("js"), **sections) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(stack: StackHandle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome | BaseException]:
    return asyncio.run(all_outcomes(stack, tmp_path_factory.mktemp("gateways")))


needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is missing: apt-get install chromium")


@needs_chromium
@pytest.mark.parametrize("name", CHROMIUM_CASES)
def test_js_watch_in_chromium_loses_no_line_and_no_end(name: str, outcomes: dict[str, Outcome | BaseException]) -> None:
    assert_followed(outcome_of(outcomes, f"{name} in Chromium").viewer)


@needs_chromium
@pytest.mark.parametrize("name", CHROMIUM_GATEWAY_CASES)
def test_js_watch_over_a_gateway_in_chromium_loses_no_line_and_no_end(
    name: str, outcomes: dict[str, Outcome | BaseException]
) -> None:
    assert_followed(outcome_of(outcomes, over_gateway(f"{name} in Chromium")).viewer)


@needs_chromium
def test_js_watch_in_a_hidden_page_polls_less_and_reads_once_it_is_visible(
    outcomes: dict[str, Outcome | BaseException],
) -> None:
    """The read that was planned before is the only one; the next one would be a minute later."""
    assert outcome_of(outcomes, "hidden page").reads_while_hidden <= 1


@pytest.mark.parametrize("name", [*CASES, *MORE_CASES])
def test_js_watch_loses_no_line_and_no_end(name: str, outcomes: dict[str, Outcome | BaseException]) -> None:
    assert_followed(outcome_of(outcomes, name).viewer)


@pytest.mark.parametrize("name", [*GATEWAY_CASES, *MORE_GATEWAY_CASES])
def test_js_watch_over_a_gateway_loses_no_line_and_no_end(
    name: str, outcomes: dict[str, Outcome | BaseException]
) -> None:
    assert_followed(outcome_of(outcomes, over_gateway(name)).viewer)


def test_js_watches_of_one_client_share_a_socket(outcomes: dict[str, Outcome | BaseException]) -> None:
    assert outcome_of(outcomes, "PostgREST gone").socket_count == 1


def outcome_of(outcomes: dict[str, Outcome | BaseException], name: str) -> Outcome:
    """Return the outcome of a case; raise the error that ended it."""
    outcome = outcomes[name]
    if isinstance(outcome, BaseException):
        raise outcome
    print(f"{name}: healed after {outcome.healed_s:.1f} s")  # Shown by `pytest -rP`.
    return outcome


def assert_followed(viewer: Viewer) -> None:
    """Assert all lines in order, one end of each watch, no percentage that decreases, and nothing after the end."""
    assert viewer.lines == LINES
    assert [call["type"] for call in viewer.ends] == ["completed"]
    percentages = [call["percentage"] for call in viewer.of("going", "progress")]
    assert percentages == sorted(percentages)
    assert percentages[-1] > 50
    (shown,) = viewer.calls["view"]
    assert (shown["status"], shown["lines"], shown["results"]) == ("completed", LINES, 1)
    assert len(viewer.of("done", "completed")) == 1
    assert len(viewer.of("ending", "completed", "failed")) == 1
    assert viewer.calls["ending"][-1]["type"] == "completed"
    left = [call["type"] for call in viewer.calls["left"]]
    assert left.index("unsubscribed") == len(left) - 1
    (closed,) = viewer.calls["client"]
    assert (closed["watches"], closed["channels"]) == (0, 0)
