"""Measure how soon a transcription goes on after each fault of a worker, and how much audio is transcribed again.

    python scripts/bench/resume.py [--rounds 3] [--lease-s 30] [FAULT...]

The faults are those of the table in `smelt/processor/README.md`; meanwhile another worker is idle, or one is enough.
Before a fault, the child at work is stopped, until all that it has computed is saved; then the fault is injected, and
the time runs until the next segment is saved. The reference is the time from a submission to the first segment without
a fault. Audio is transcribed again from the saved checkpoint to the end of the saved segments; the documented limit is
one window of the model. In the end, each text must equal that of the undisturbed run.

The external service is this program: it calls the gateway back once, and then no more, so that its lease expires.
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import httpx
import psutil
import psycopg
from bench_common import idle_since, print_figure, print_medians, recording, signed_in, start_worker

import smelt
from smelt.backend.project import Project
from smelt.contract.dispatch import CallbackTokens
from smelt.local import LocalStack
from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.model import ModelOptions, load_model
from tests.acceptance.gateway_process import gateway_process
from tests.harness.gateways import SIGNING_KEY
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import until

MINUTES: Final = 4.0
CLIP_S: Final = 2.0
SEGMENTS_BEFORE_FAULT: Final = 12
# Longer than the interval between two reports, and than handing a file over to a child.
QUIET_S: Final = 2.5
DRAIN_S: Final = 2
PREPARED_DECODERS: Final = 2
TIMEOUT_S: Final = 180.0
UNDISTURBED: Final = "from a submission to the first text"
SAVED: Final = """
select count(g.index), coalesce(max(g.end_s), 0), coalesce(max((c.checkpoint ->> 'position')::float8), 0)
from public.smelt_files as f
left join public.smelt_segments as g on g.file_id = f.id
left join smelt.checkpoints as c on c.file_id = f.id
where f.smelt_id = %s
"""
AT_RISK: Final = "select 1 from smelt.leases where smelt_id = %s and risk = %s"

ChildKind = Literal["model", "decode"]


@dataclass(frozen=True)
class Fault:
    """A fault of the worker that has the smelts, or of its child at work."""

    inject: Callable[[psutil.Process], None]
    child: ChildKind = "model"
    is_loading: bool = False
    has_other: bool = True
    smelt_count: int = 1


@dataclass
class Outcome:
    """The results of the rounds of a fault, in seconds, and the number of texts that differ."""

    until_text_s: list[float] = field(default_factory=list)
    undisturbed_s: list[float] = field(default_factory=list)
    repeated_s: list[float] = field(default_factory=list)
    different: int = 0


def children(worker: psutil.Process, kind: ChildKind) -> list[psutil.Process]:
    """Return the children of a worker of this kind."""
    found = []
    for child in worker.children():
        with suppress(psutil.NoSuchProcess):
            if f"smelt.processor.children.{kind}" in child.cmdline():
                found.append(child)
    return found


def sending(kind: ChildKind, number: signal.Signals) -> Callable[[psutil.Process], None]:
    """Return a fault: the stopped children of this kind get a signal, and go on."""

    def inject(worker: psutil.Process) -> None:
        for child in children(worker, kind):
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)
                child.resume()

    return inject


FAULTS: Final[dict[str, Fault]] = {
    "worker killed": Fault(psutil.Process.kill),
    "worker frozen": Fault(psutil.Process.suspend),
    "worker drained": Fault(psutil.Process.terminate),
    "model crashed": Fault(sending("model", signal.SIGSEGV)),
    "model crashed, two recordings": Fault(sending("model", signal.SIGSEGV), has_other=False, smelt_count=2),
    "model crashed while loading": Fault(sending("model", signal.SIGSEGV), is_loading=True, has_other=False),
    "model killed": Fault(sending("model", signal.SIGKILL)),
    "decoder crashed": Fault(sending("decode", signal.SIGSEGV), child="decode"),
    "decoder killed": Fault(sending("decode", signal.SIGKILL), child="decode"),
}
SERVICE: Final = "external service killed"
SERVICE_SEGMENTS: Final = 2


@dataclass(frozen=True)
class Bench:
    """A stack, a client, and the recording that all smelts have."""

    stack: LocalStack
    client: smelt.Client
    database: psycopg.AsyncConnection
    folder: Path
    file: Path
    lease_s: int

    @asynccontextmanager
    async def worker(self, lanes: int = 1, *, is_loading: bool = False) -> AsyncIterator[psutil.Process]:
        """Run a worker on a host of its own until the end of the block; yield it once it is idle, or while it loads."""
        host = os.urandom(4).hex()
        settings = {"SMELT_LEASE_S": str(self.lease_s), "SMELT_DRAIN_S": str(DRAIN_S), "SMELT_MODEL_LANES": str(lanes)}
        started = start_worker(self.stack, self.folder, SMELT_HOST=host, **settings)
        worker = psutil.Process(started.pid)
        try:
            if not is_loading:
                await until(lambda: self.rows("select 1 from smelt.live_workers where host = %s", host), TIMEOUT_S)
                await idle_since(worker)
            yield worker
        finally:
            started.kill()
            await asyncio.to_thread(started.wait)

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return await (await self.database.execute(query.encode(), values)).fetchall()

    async def submit(self, count: int = 1) -> list[UUID]:
        """Submit smelts of the recording at the same time."""
        created = [await self.client.create(files=[self.file], prompts=[], submit=False) for _ in range(count)]
        await asyncio.gather(*(self.client.submit(one.id) for one in created))
        return [one.id for one in created]

    async def segment_count(self, smelt_id: UUID) -> int:
        """Return the number of saved segments."""
        [(count, _, _)] = await self.rows(SAVED, smelt_id)
        return int(count)

    async def repeated_s(self, smelt_id: UUID) -> float:
        """Return the seconds of saved audio that the next attempt transcribes again."""
        [(_, saved_s, position)] = await self.rows(SAVED, smelt_id)
        return max(0.0, float(saved_s) - float(position) / SAMPLE_RATE)

    async def segments(self, smelt_id: UUID) -> Sequence[smelt.Segment]:
        """Wait for the end of a smelt; return its segments."""
        await self.client.wait(smelt_id, timeout_s=TIMEOUT_S)
        return (await self.client.get(smelt_id)).segments

    async def undisturbed(self) -> tuple[float, Sequence[smelt.Segment]]:
        """Return the seconds from a submission to the first text of a warm worker, and all segments."""
        async with self.worker():
            began_s = time.monotonic()
            [smelt_id] = await self.submit()
            took_s = await self.until_more([smelt_id], [0], began_s)
            return took_s, await self.segments(smelt_id)

    async def until_more(self, smelt_ids: Sequence[UUID], before: Sequence[int], began_s: float) -> float:
        """Return the seconds until all of these smelts have more segments than before."""

        async def have_more() -> bool:
            return all([await self.segment_count(one) > count for one, count in zip(smelt_ids, before, strict=True)])

        await until(have_more, TIMEOUT_S)
        return time.monotonic() - began_s

    async def play(self, fault: Fault, outcome: Outcome, undisturbed: Sequence[smelt.Segment]) -> None:
        """Run one round of a fault."""
        early = await self.submit() if fault.is_loading else []
        async with (
            self.worker(fault.smelt_count, is_loading=fault.is_loading) as worker,
            AsyncExitStack() as others,
        ):
            smelt_ids = early or await self.at_work(fault, worker)
            if fault.is_loading:
                await until(lambda: stopped(worker, "model"), TIMEOUT_S)
            if fault.has_other:
                await others.enter_async_context(self.worker())
            before = [await self.segment_count(one) for one in smelt_ids]
            if fault.child == "model" and not fault.is_loading:
                outcome.repeated_s += [await self.repeated_s(one) for one in smelt_ids]
            began_s = time.monotonic()
            fault.inject(worker)
            outcome.until_text_s.append(await self.until_more(smelt_ids, before, began_s))
            for smelt_id in smelt_ids:
                outcome.different += texts(await self.segments(smelt_id)) != texts(undisturbed)

    async def play_service(self, outcome: Outcome, undisturbed: Sequence[smelt.Segment]) -> None:
        """Run one round in which a smelt is dispatched to a service that stops after its first segments."""
        [smelt_id] = await self.submit()
        attempt = await self.dispatch(smelt_id)
        env = {**self.stack.env(), "SMELT_SIGNING_KEYS": SIGNING_KEY}
        with gateway_process(env, self.folder / "gateway.log") as gateway:
            async with self.worker():
                first = [
                    one.model_dump(include={"index", "start", "end", "text"}) for one in undisturbed[:SERVICE_SEGMENTS]
                ]
                token, _ = CallbackTokens((SIGNING_KEY,)).issue(smelt_id, attempt, self.lease_s, time.time())
                async with httpx.AsyncClient(base_url=gateway.url, headers={"X-Callback-Token": token}) as http:
                    (await http.post("/api/callbacks/progress", json={"segments": first})).raise_for_status()
                outcome.until_text_s.append(await self.until_more([smelt_id], [len(first)], time.monotonic()))
                await self.segments(smelt_id)

    async def dispatch(self, smelt_id: UUID) -> int:
        """Claim a smelt and dispatch it, as a worker does; return the attempt."""
        async with Project(self.stack.api_url, self.stack.service_role_key) as project:
            worker = ScriptedWorker(project)
            job = await worker.claim(smelt_id)
            [file] = job.claim.files
            started = {"status": "processing", "stage": "transcribing", "duration_seconds": MINUTES * 60}
            await job.report("transcribing", 20, files=[{"id": str(file.id), **started}])
            # Until the first callback, which comes once the other worker is ready.
            assert await worker.calls.dispatch_smelt(smelt_id, job.claim.attempt, lease_s=600) == "go_on"
        return job.claim.attempt

    async def at_work(self, fault: Fault, worker: psutil.Process) -> list[UUID]:
        """Submit smelts to a worker; return them once its child at work is stopped, and all else is saved."""
        if fault.child == "decode":
            await self.stop_decoders(worker)
        smelt_ids = await self.submit(fault.smelt_count)
        if fault.child == "decode":
            await until(lambda: self.rows(AT_RISK, smelt_ids[0], fault.child), TIMEOUT_S)
        else:
            await self.until_more(smelt_ids, [SEGMENTS_BEFORE_FAULT] * len(smelt_ids), time.monotonic())
            stopped(worker, "model")
        await asyncio.sleep(QUIET_S)
        return smelt_ids

    async def stop_decoders(self, worker: psutil.Process) -> None:
        """Stop the decoders of a worker, which it has prepared since its first recording."""
        clip = await self.client.create(files=[recording(self.folder / "clip.wav", CLIP_S)], prompts=[])
        await self.segments(clip.id)
        await until(lambda: len(children(worker, "decode")) == PREPARED_DECODERS, TIMEOUT_S)
        await idle_since(worker)
        stopped(worker, "decode")


def texts(segments: Sequence[smelt.Segment]) -> list[str]:
    """Return the texts of segments."""
    return [segment.text for segment in segments]


def stopped(worker: psutil.Process, kind: ChildKind) -> bool:
    """Stop the children of this kind; return False if there is none."""
    found = children(worker, kind)
    for child in found:
        child.suspend()
    return bool(found)


def report(name: str, outcome: Outcome, window_s: float) -> None:
    """Print the figures of one fault."""
    print_medians(f"until the next text after: {name}", outcome.until_text_s, "s", UNDISTURBED, outcome.undisturbed_s)
    if outcome.repeated_s:
        print_figure(
            f"audio transcribed again after: {name}", max(outcome.repeated_s), "s",
            reference="the documented limit", reference_value=window_s, rounds=len(outcome.repeated_s),
        )  # fmt: skip


async def main(names: Sequence[str], rounds: int, lease_s: int) -> None:
    """Run the faults one after another, each after an undisturbed run."""
    window_s = load_model(ModelOptions()).feature_extractor.chunk_length
    different = 0
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as folder_name:
        folder = Path(folder_name)
        file = recording(folder / "speech.wav", MINUTES * 60)
        async with (
            LocalStack() as stack,
            signed_in(stack) as client,
            await psycopg.AsyncConnection.connect(stack.db_url, autocommit=True) as database,
        ):
            bench = Bench(stack, client, database, folder, file, lease_s)
            undisturbed = [await bench.undisturbed() for _ in range(rounds)]
            for name in names:
                outcome = Outcome(undisturbed_s=[seconds for seconds, _ in undisturbed])
                for _, segments in undisturbed:
                    if name == SERVICE:
                        await bench.play_service(outcome, segments)
                    else:
                        await bench.play(FAULTS[name], outcome, segments)
                report(name, outcome, window_s)
                different += outcome.different
    print_figure(
        "texts that differ from that of an undisturbed run", different, "count", reference="promised", reference_value=0
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join([*FAULTS, SERVICE]))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lease-s", type=int, default=30)
    given = parser.parse_args()
    asyncio.run(main(given.faults or [*FAULTS, SERVICE], given.rounds, given.lease_s))
