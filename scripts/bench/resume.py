"""Measure how much audio is transcribed again after a worker was killed, and compare the text with an unbroken run.

    python scripts/bench/resume.py [--kills 3]

The documented limit is one window of the model: the next worker starts at the beginning of a window, and segments that
were saved after that point are transcribed again.
"""

import argparse
import asyncio
import subprocess
import tempfile
from contextlib import aclosing
from pathlib import Path

from bench_common import print_figure, recording, signed_in, start_worker

import smelt
from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.state import Created
from smelt.local import LocalStack
from smelt.processor.speech.model import ModelOptions, load_model

MINUTES = 8.0
LEASE_S = 5
SEGMENTS_BEFORE_KILL = 20


async def main(kills: int) -> None:
    """Transcribe once without a kill for the text, then once with kills."""
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
        figure = f"seconds of audio transcribed again after kill {number}"
        print_figure(figure, seconds, "seconds", reference="one window", reference_value=window_s, same_text=same)


async def killed(stack: LocalStack, folder: Path, client: smelt.Client, created: Created) -> float:
    """Kill a worker once it has transcribed new segments; return the seconds of audio that the next one repeats."""
    worker = start_worker(stack, folder, SMELT_LEASE_S=str(LEASE_S))
    try:
        await until_transcribed(client, created, len((await client.get(created.id)).segments) + SEGMENTS_BEFORE_KILL)
    finally:
        worker.kill()
        await asyncio.to_thread(worker.wait)
    return await repeated_s(worker, stack, created)


async def until_transcribed(client: smelt.Client, created: Created, count: int) -> None:
    """Wait until a watcher has `count` segments."""
    async with aclosing(client.watch(created.id)) as updates:
        async for update in updates:
            if isinstance(update, smelt.Segments) and update.segments[-1].index + 1 >= count:
                return
    raise SystemExit("the worker finished before it was killed")


async def repeated_s(worker: "subprocess.Popen[bytes]", stack: LocalStack, created: Created) -> float:
    """Return the seconds from where the next worker resumes to the end of the saved segments."""
    async with Project(stack.api_url, stack.service_role_key) as project:
        calls = WorkerRpc(project.rpc)
        while not (claims := await calls.claim_smelts(f"after {worker.pid}")).smelts:  # noqa: ASYNC110 - A worker polls.
            await asyncio.sleep(claims.next_due_in_s or 0.2)
        [claim] = claims.smelts
        [file] = claim.files
        saved = await calls.load_segments(created.id, file.id)
        await calls.release_smelt(claim.id, claim.attempt)
    assert file.checkpoint is not None
    kept = saved[: file.checkpoint["segment_count"]]
    return saved[-1].end - (kept[-1].end if kept else 0.0)


async def text(client: smelt.Client, created: Created) -> list[str]:
    """Return the texts of the segments."""
    state = await client.get(created.id)
    assert state.status == "completed", state.status
    return [segment.text for segment in state.segments]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    asyncio.run(main(parser.parse_args().kills))
