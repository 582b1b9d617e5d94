"""Shared by the tests of the worker: an app that uploads and subscribes, and workers to stop and kill."""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families

from smelt.backend.client_rpc import ClientRpc, FileSpec
from smelt.backend.project import Project
from smelt.backend.realtime import Broadcast, ChannelEvent
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import smelt_channel
from smelt.contract.state import Created, Snapshot
from smelt.contract.vocabulary import PERCENT_RANGES, STAGES
from smelt.contract.work import SmeltAttempts
from smelt.processor.worker import Worker, WorkerOptions
from tests.harness.processes import started
from tests.harness.stacks import TLS, Stack, sign_up
from tests.harness.waiting import until

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "recordings"
STANDUP = ROOT / "smelt" / "cli" / "recordings" / "standup.ogg"
TIMEOUT_S = 60.0


@dataclass
class RecordedChannel:
    """All events that were received on the channel of one smelt."""

    smelt_id: UUID
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def named(self, event: str) -> list[dict[str, Any]]:
        """Return the payloads of one kind of event, in order."""
        return [payload for name, payload in self.events if name == event]

    @property
    def ends(self) -> list[tuple[str, dict[str, Any]]]:
        """The terminal events, each once."""
        by_id = {
            payload["event_id"]: (name, payload) for name, payload in self.events if name in ("completed", "failed")
        }
        return list(by_id.values())

    @property
    def segments(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The segments that were received, by file and index."""
        payloads = [payload for _, payload in self.events]
        return {(x.get("file_id") or p["file_id"], x["index"]): x for p in payloads for x in p.get("segments", [])}

    @property
    def segment_count(self) -> int:
        """The number of segments that were received."""
        return len(self.segments)

    def check_order(self) -> None:
        """Assert that percentages and stages never decrease, and each percentage is in the range of its stage."""
        payloads = [payload["progress"] for payload in self.named("progress")]
        percentages = [progress["percentage"] for progress in payloads]
        assert percentages == sorted(percentages), percentages
        stages = [STAGES.index(progress["stage"]) for progress in payloads]
        assert stages == sorted(stages), payloads
        for progress in payloads:
            low, high = PERCENT_RANGES[progress["stage"]]
            assert low <= progress["percentage"] <= high, progress

    def check_budget(self) -> None:
        """Assert that each attempt sent at most one progress per second, beside those of a new stage.

        By the database's clock at the commits, whose delay varies a little.
        """
        attempts = {payload["attempt"] for payload in self.named("progress")}
        for attempt in attempts:
            payloads = [payload for payload in self.named("progress") if payload["attempt"] == attempt]
            emitted = [datetime.fromisoformat(payload["emitted_at"]) for payload in payloads]
            stages = len({payload["status"] for payload in payloads})
            seconds = (emitted[-1] - emitted[0]).total_seconds()
            assert len(payloads) - stages <= 1.2 * seconds + 2, f"{len(payloads)} in {seconds:.1f} s, {stages} stages"


class AppClient:
    """An app: creates, uploads, submits, subscribes."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.calls = ClientRpc(project.rpc)

    async def create(self, *files: Path, prompts: Sequence[str] = ("summarize",), **more: Any) -> Created:
        """Create a smelt and upload its files, without submitting it."""
        created = await self.create_without_upload(*files, prompts=prompts, **more)
        for row, file in zip(created.files, files, strict=False):
            if row.upload_path is not None:
                await self.project.audio.upload(row.upload_path, file)
        return created

    async def create_without_upload(
        self, *files: Path, prompts: Sequence[str] = ("summarize",), **more: Any
    ) -> Created:
        """Create a smelt without uploading its files."""
        specs = [FileSpec(file.name, file.stat().st_size) for file in files]
        return await self.calls.create_smelt(files=specs, default_prompt_names=prompts, **more)

    @asynccontextmanager
    async def subscribed(self, topic: str) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
        """Collect all events of a channel."""
        received: list[tuple[str, dict[str, Any]]] = []

        def on_event(event: ChannelEvent) -> None:
            if isinstance(event, Broadcast) and isinstance(event.payload, dict):
                received.append((event.event, event.payload))

        channel = await self.project.realtime.join(topic, on_event)
        assert await channel.wait_joined(20)
        try:
            yield received
        finally:
            await channel.leave()

    @asynccontextmanager
    async def watching(self, smelt_id: UUID) -> AsyncIterator[RecordedChannel]:
        """Record the channel of a smelt."""
        async with self.subscribed(smelt_channel(str(smelt_id))) as received:
            yield RecordedChannel(smelt_id, received)

    async def state(self, smelt_id: UUID) -> Snapshot:
        """Return the snapshot of a smelt."""
        state = await self.calls.get_smelt(smelt_id)
        assert isinstance(state, Snapshot)
        return state

    async def ended(self, smelt_id: UUID, timeout_s: float = TIMEOUT_S) -> Snapshot:
        """Wait until the smelt has ended; return its snapshot."""
        deadline = time.monotonic() + timeout_s
        while (state := await self.state(smelt_id)).status not in ("completed", "failed"):
            assert time.monotonic() < deadline, f"still {state.status} after {timeout_s:.0f} s"
            await asyncio.sleep(0.1)
        return state


def user_client(stack: Stack) -> AbstractAsyncContextManager[AppClient]:
    """Return an app of a new user: visitors have lower limits."""
    return app_client(stack, sign_up(stack).access_token)


async def submitted(app: AppClient, *files: Path) -> list[UUID]:
    """Create and submit a smelt for each recording, in this order."""
    created = [await app.create(file) for file in files]
    for smelt in created:
        await app.calls.submit_smelt(smelt.id)
    return [smelt.id for smelt in created]


async def attempts_of(stack: Stack, *smelt_ids: UUID) -> list[SmeltAttempts]:
    """Return what is known about the attempts of each smelt."""
    async with Project(stack.api_url, stack.service_role_key) as project:
        calls = WorkerRpc(project.rpc)
        return [await calls.get_attempts(smelt_id) for smelt_id in smelt_ids]


def failures(known: SmeltAttempts) -> list[str | None]:
    """Return the risk of each attempt that counted as a failure."""
    return [attempt.risk for attempt in known.attempts if attempt.is_failure]


def options(folder: Path, **more: Any) -> WorkerOptions:
    """Return options of a worker with a folder of its own."""
    return WorkerOptions(worker_id=f"test-{uuid4().hex[:6]}", temp_dir=folder, **more)


def worker_metrics(log: str) -> dict[tuple[str, ...], float]:
    """Return the metrics of a worker by names and labels; its log contains their URL."""
    url = re.search(r"http://127\.0\.0\.1:\d+/metrics", log)
    assert url is not None
    printed = httpx.get(url[0], timeout=TIMEOUT_S, verify=TLS).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(printed)
        for sample in family.samples
    }


@asynccontextmanager
async def app_client(stack: Stack, access_token: str | None = None) -> AsyncIterator[AppClient]:
    """Create an app with the anon key."""
    async with Project(stack.api_url, stack.anon_key, access_token=access_token) as project:
        yield AppClient(project)


@asynccontextmanager
async def running_worker(stack: Stack, folder: Path, **more: Any) -> AsyncIterator[asyncio.Event]:
    """Run a worker in this process; setting the event drains it, and so does the end of the block."""
    stop = asyncio.Event()
    async with Project(stack.api_url, stack.service_role_key) as project:
        task = asyncio.create_task(Worker(project, options(folder, **more)).run(stop=stop))
        try:
            yield stop
        finally:
            stop.set()
            await task


async def run_worker_once(stack: Stack, folder: Path, **more: Any) -> None:
    """Run a worker until nothing can be claimed."""
    async with Project(stack.api_url, stack.service_role_key) as project:
        await Worker(project, options(folder, **more)).run(once=True, stop=asyncio.Event())


class WorkerProcess:
    """`smelt worker` as a process of its own, to be killed; `before` is Python code that it runs at its start."""

    def __init__(self, stack: Stack, folder: Path, *, before: str = "", **settings: str) -> None:
        (folder / "sitecustomize.py").write_text(before)
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        here = {"SMELT_TEMP_DIR": str(folder), "SMELT_MODEL": "demo", "PYTHONPATH": path}
        env = {**os.environ, **stack.env(), **here, **settings}
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "smelt", "worker"]
        self._exits = ExitStack()
        log = self._exits.enter_context(self.log.open("wb"))
        self.process = self._exits.enter_context(started(command, env=env, cwd=folder, stdout=log, stderr=log))

    def end(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Kill the process if it still runs."""
        self._exits.close()

    async def exit_code(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the exit of the process."""
        await until(lambda: self.process.poll() is not None, timeout_s)
        if self.process.returncode:
            print(self.log.read_text())
        assert self.process.returncode is not None
        return self.process.returncode
