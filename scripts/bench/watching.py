"""Measure how soon each kind of consumer has a change of a smelt, and how many bytes it needs on the wire.

    python scripts/bench/watching.py [--rounds 200] [--idle-s 60]

Consumers are processes, each with a smelt of its own: the Python client, the blocking one, `smelt-js` over supabase-js
in Node, and a reader of an event stream of `smelt serve`. The latency runs from the response to a report, which is
committed then, to the update in the consumer: the report is broadcast over a joined channel, as a worker does it. The
rounds alternate between the consumers and the reference, the same event through a bare fan-out on `websockets`.

The bytes are those of both directions through a proxy: while the smelt waits in the queue, and of all the rest: the
connection, 20 reports with a segment each, and the end. Their reference is the official Realtime client alone, on the
same channel.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final
from uuid import UUID

import httpx
from bench_common import print_figure
from httpx_sse import connect_sse
from official_client import OfficialClient
from realtime_latency import fan_out, opened
from websockets.asyncio.client import ClientConnection

import smelt
from smelt.backend.project import Project
from smelt.backend.realtime import Channel
from smelt.contract.channels import smelt_channel
from smelt.local import LocalStack
from smelt.settings import LocalSettings
from smelt.subscriber.updates import ConnectionEvent
from tests.acceptance.gateway_process import gateway_process
from tests.harness.proxies import CountingProxy, counting_proxy
from tests.harness.scripted_worker import Job, ScriptedWorker
from tests.harness.stacks import User, running, sign_up

HERE: Final = Path(__file__).parent
STREAM: Final = "event stream"
COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "Python client": (sys.executable, __file__, "--consumer", "client"),
    "blocking client": (sys.executable, __file__, "--consumer", "blocking"),
    "JavaScript client": ("node", str(HERE / "watch.mjs")),
    STREAM: (sys.executable, __file__, "--consumer", "stream"),
}
WARM_UPS: Final = 10
REPORTS: Final = 20
# The database rounds percentages to one decimal; those of transcribing are between 20 and 70.
FIRST_PERCENT, STEP_PERCENT, MAX_ROUNDS = 20.0, 0.2, 240
TIMEOUT_S: Final = 60.0
# After the join, a client reads the state once more.
SETTLE_S: Final = 3.0


@dataclass(frozen=True)
class Bench:
    """A stack with a gateway, a user, and a worker whose calls are made one at a time."""

    stack: LocalStack
    gateway_url: str
    user: User
    client: smelt.Client
    project: Project
    worker: ScriptedWorker

    def url(self, name: str) -> str:
        """Return the URL of the server to which a consumer connects."""
        return self.gateway_url if name == STREAM else self.stack.api_url

    @asynccontextmanager
    async def following(self, name: str, url: str, smelt_id: UUID) -> AsyncIterator["Consumer"]:
        """Run a consumer of a smelt until the end of the block; yield it once it is live."""
        access = {"url": url, "key": self.stack.anon_key, "token": self.user.access_token, "smelt_id": str(smelt_id)}
        process = await asyncio.create_subprocess_exec(
            *COMMANDS[name], json.dumps(access), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        try:
            consumer = Consumer(process)
            await consumer.line("live")
            yield consumer
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass(frozen=True)
class Consumer:
    """A process that follows a smelt."""

    process: asyncio.subprocess.Process

    async def received_at(self, percentage: float) -> float:
        """Return the time at which the consumer had this percentage."""
        return float((await self.line(f"{percentage:g} ")).split()[1])

    async def line(self, start: str) -> str:
        """Return the next line that begins so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            while line := (await self.process.stdout.readline()).decode():
                if line.startswith(start):
                    return line
        raise SystemExit("a consumer has ended early")

    async def end(self) -> None:
        """Wait until the process has ended by itself, after the end of the smelt."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.process.communicate()


@dataclass(frozen=True)
class Followed:
    """A claimed smelt, its consumer, and the channel on which its worker broadcasts."""

    bench: Bench
    job: Job
    consumer: Consumer
    channel: Channel

    async def latency_s(self, percentage: float) -> tuple[float, dict[str, Any]]:
        """Report a percentage; return the seconds from the commit until the consumer has it, and the event."""
        claim = self.job.claim
        report = await self.bench.worker.calls.report_progress(
            claim.id, claim.attempt, status="transcribing", percentage=percentage, lease_s=600
        )
        committed_s = time.time()
        assert report.event is not None
        event = report.event.model_dump(mode="json")
        await self.channel.send("progress", event)
        return await self.consumer.received_at(percentage) - committed_s, event


async def latencies(bench: Bench, rounds: int) -> None:
    """Print the latency of each consumer."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    bare: list[float] = []
    async with AsyncExitStack() as exits:
        followed = {name: await exits.enter_async_context(followed_smelt(bench, name)) for name in COMMANDS}
        bare_url = await exits.enter_async_context(fan_out())
        sender, receiver = [await exits.enter_async_context(opened(bare_url)) for _ in range(2)]
        for number in range(-WARM_UPS, rounds):
            percentage = round(FIRST_PERCENT + STEP_PERCENT * (number + WARM_UPS + 1), 1)
            event: dict[str, Any] = {}
            for name in sorted(followed, reverse=bool(number % 2)):
                seconds, event = await followed[name].latency_s(percentage)
                if number >= 0:
                    found[name].append(seconds)
            seconds = await bare_latency_s(sender, receiver, event)
            if number >= 0:
                bare.append(seconds)
    for name, seconds_of_all in found.items():
        for percent in (50, 95):
            ms, bare_ms = (quantiles(each, n=100)[percent - 1] * 1000 for each in (seconds_of_all, bare))
            print_figure(
                f"commit to {name}, p{percent}", ms, "ms", reference="bare websockets fan-out", reference_value=bare_ms,
                spread=[round(min(seconds_of_all) * 1000, 2), round(max(seconds_of_all) * 1000, 2)], rounds=rounds,
            )  # fmt: skip


@asynccontextmanager
async def followed_smelt(bench: Bench, name: str) -> AsyncIterator[Followed]:
    """Claim a new smelt with a consumer."""
    created = await bench.client.create(text="Ship it on Monday.")
    async with bench.following(name, bench.url(name), created.id) as consumer:
        job = await bench.worker.claim(created.id)
        channel = await bench.project.realtime.join(smelt_channel(str(created.id)))
        assert await channel.wait_joined(TIMEOUT_S)
        yield Followed(bench, job, consumer, channel)
        await channel.leave()


async def bare_latency_s(sender: ClientConnection, receiver: ClientConnection, event: dict[str, Any]) -> float:
    """Send an event through the fan-out; return the seconds until it is received."""
    message = json.dumps(event)
    began_s = time.time()
    await sender.send(message)
    await receiver.recv()
    return time.time() - began_s


async def wire(bench: Bench, idle_s: float) -> None:
    """Print the bytes of each consumer: of an idle minute, and of a whole smelt."""
    official, *others = await asyncio.gather(
        official_bytes(bench, idle_s), *(consumer_bytes(bench, name, idle_s) for name in COMMANDS)
    )
    for name, (idle, whole) in zip(COMMANDS, others, strict=True):
        for figure, value, reference_value in (
            ("an idle minute", idle, official[0]),
            (f"a smelt of {REPORTS} reports", whole, official[1]),
        ):
            print_figure(
                f"bytes of {figure}, {name}", value, "bytes",
                reference="official Realtime client alone", reference_value=reference_value,
            )  # fmt: skip


async def consumer_bytes(bench: Bench, name: str, idle_s: float) -> tuple[float, float]:
    """Return the bytes of a consumer: in a minute in the queue, and otherwise."""
    created = await bench.client.create(text="Ship it on Monday.")
    async with (
        counting_proxy(bench.url(name)) as proxy,
        bench.following(name, proxy.url, created.id) as consumer,
    ):
        idle = await bytes_in(proxy, idle_s)
        await play(await bench.worker.claim(created.id))
        await consumer.end()
        return idle * 60 / idle_s, proxy.passed_bytes - idle


async def official_bytes(bench: Bench, idle_s: float) -> tuple[float, float]:
    """Return the same of the official client, which does not end by itself."""
    created = await bench.client.create(text="Ship it on Monday.")
    async with counting_proxy(bench.stack.api_url) as proxy:
        topic = smelt_channel(str(created.id))
        official = OfficialClient(proxy.url, bench.stack.anon_key, bench.user.access_token, topic)
        await official.start()
        idle = await bytes_in(proxy, idle_s)
        await play(await bench.worker.claim(created.id))
        await official.stop()
        return idle * 60 / idle_s, proxy.passed_bytes - idle


async def bytes_in(proxy: CountingProxy, seconds: float) -> int:
    """Return the bytes that pass in some seconds, once the connection has settled."""
    await asyncio.sleep(SETTLE_S)
    before = proxy.passed_bytes
    await asyncio.sleep(seconds)
    return proxy.passed_bytes - before


async def play(job: Job) -> None:
    """Report segments, then complete the smelt."""
    for number in range(REPORTS):
        await job.report("transcribing", 21.0 + number, words=["We ship the release on Monday."], first=number)
    await job.complete()


def consume(kind: str, access: dict[str, str]) -> None:
    """Follow a smelt in this process until its end."""
    url, key, token, smelt_id = (access[name] for name in ("url", "key", "token", "smelt_id"))
    match kind:
        case "client":
            asyncio.run(consume_client(url, key, token, smelt_id))
        case "blocking":
            with smelt.blocking.connect(url, key, token) as client:
                for update in client.watch(smelt_id, connection_events=True):
                    print_update(update)
        case _:
            consume_stream(url, token, smelt_id)


async def consume_client(url: str, key: str, token: str, smelt_id: str) -> None:
    """Follow a smelt with the client."""
    async with smelt.connect(url, key, token) as client:
        async for update in client.watch(smelt_id, connection_events=True):
            print_update(update)


def print_update(update: smelt.Update | ConnectionEvent) -> None:
    """Print `live` once the channel is joined, and when each percentage arrives."""
    now_s = time.time()
    if isinstance(update, smelt.Connected):
        print("live", flush=True)
    elif isinstance(update, smelt.Progress):
        print(f"{update.percentage:g} {now_s}", flush=True)


def consume_stream(url: str, token: str, smelt_id: str) -> None:
    """Do the same with an event stream of a gateway."""
    headers = {"Authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S) as http,
        connect_sse(http, "GET", f"/api/smelts/{smelt_id}/events") as source,
    ):
        for event in source.iter_sse():
            now_s = time.time()
            if event.event == "connected":
                print("live", flush=True)
            elif event.event == "progress":
                print(f"{event.json()['progress']['percentage']:g} {now_s}", flush=True)


async def run(stack: LocalStack, gateway_url: str, options: argparse.Namespace) -> None:
    """Measure the latencies, then the bytes."""
    user = sign_up(stack)
    async with (
        smelt.connect(stack.api_url, stack.anon_key, user.access_token) as client,
        Project(stack.api_url, stack.service_role_key) as project,
    ):
        bench = Bench(stack, gateway_url, user, client, project, ScriptedWorker(project))
        await latencies(bench, min(options.rounds, MAX_ROUNDS - WARM_UPS))
        await wire(bench, options.idle_s)


def main(options: argparse.Namespace) -> None:
    """Start a stack and a gateway."""
    with (
        tempfile.TemporaryDirectory(prefix="smelt-bench-") as folder,
        running(LocalStack(postgrest=LocalSettings.read().postgrest)) as stack,
        gateway_process(stack.env(), Path(folder) / "gateway.log") as gateway,
    ):
        asyncio.run(run(stack, gateway.url, options))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--consumer", help=argparse.SUPPRESS)
    parser.add_argument("access", nargs="?", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.consumer:
        consume(given.consumer, given.access)
    else:
        main(given)
