"""How much audio is heard again after a worker was killed, and whether the text is that of an undisturbed run.

    python scripts/bench/resume.py [--kills 3]

Promised is at most one window of the model: what was saved after the start of the window at which the next one begins.
"""

import argparse
import asyncio
import subprocess
import tempfile
from contextlib import aclosing
from pathlib import Path

from stage import recording, signed_in, start_worker, tell

import smelt
from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.state import Created
from smelt.local import LocalStack
from smelt.processor.speech.model import ModelOptions, load_model

MINUTES = 8.0
LEASE_S = 5
HEARD_BEFORE_KILL = 20


async def main(kills: int) -> None:
    """One run without a kill for its text, then one with kills."""
    window_s = load_model(ModelOptions()).feature_extractor.chunk_length
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        file = recording(folder / "speech.wav", MINUTES * 60)
        async with LocalStack() as stack, signed_in(stack) as client:
            whole = await client.create(files=[file])
            await asyncio.to_thread(start_worker(stack, folder, "--once").wait)
            created = await client.create(files=[file])
            redone = [await killed(stack, folder, client, created) for _ in range(kills)]
            await asyncio.to_thread(start_worker(stack, folder, "--once").wait)
            same = await text(client, whole) == await text(client, created)
    for number, seconds in enumerate(redone, start=1):
        what = f"seconds of audio heard again after kill {number}"
        tell(what, seconds, "seconds", reference="one window", reference_value=window_s, same_text=same)


async def killed(stack: LocalStack, folder: Path, client: smelt.Client, created: Created) -> float:
    """Kill a worker in the middle, once it has heard something new; answers what of its work has to be done again."""
    worker = start_worker(stack, folder, SMELT_LEASE_S=str(LEASE_S))
    try:
        await until_heard(client, created, len((await client.get(created.id)).segments) + HEARD_BEFORE_KILL)
    finally:
        worker.kill()
        await asyncio.to_thread(worker.wait)
    return await left_by(worker, stack, created)


async def until_heard(client: smelt.Client, created: Created, count: int) -> None:
    """Wait until a watcher has so many segments."""
    async with aclosing(client.watch(created.id)) as updates:
        async for update in updates:
            if isinstance(update, smelt.Segments) and update.segments[-1].index + 1 >= count:
                return
    raise SystemExit("the worker was done before it could be killed")


async def left_by(worker: "subprocess.Popen[bytes]", stack: LocalStack, created: Created) -> float:
    """Seconds between where the next worker begins and the end of what is saved."""
    async with Project(stack.api_url, stack.service_role_key) as project:
        calls = WorkerRpc(project.rpc)
        while not (claims := await calls.claim_smelts(f"after {worker.pid}")).smelts:  # noqa: ASYNC110 - As a worker asks.
            await asyncio.sleep(claims.next_due_in_s or 0.2)
        [claim] = claims.smelts
        [file] = claim.files
        saved = await calls.load_segments(created.id, file.id)
        await calls.release_smelt(claim.id, claim.attempt)
    assert file.checkpoint is not None
    kept = saved[: file.checkpoint["segment_count"]]
    return saved[-1].end - (kept[-1].end if kept else 0.0)


async def text(client: smelt.Client, created: Created) -> list[str]:
    """The transcript."""
    state = await client.get(created.id)
    assert state.status == "completed", state.status
    return [segment.text for segment in state.segments]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    asyncio.run(main(parser.parse_args().kills))
