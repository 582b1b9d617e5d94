"""Measure the peak memory of a worker process with a long recording, compared with one of 3 minutes.

    python scripts/bench/memory.py [--hours 3]

The documented limit is 150 MiB more, however long the recording.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from bench_common import print_figure, recording, signed_in, start_worker

from smelt.local import LocalStack

SHORT_S = 180.0


async def main(hours: float) -> None:
    """Transcribe the short recording, then the long one."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        async with LocalStack() as stack:
            short_mib = await peak_mib(stack, folder, SHORT_S)
            long_mib = await peak_mib(stack, folder, hours * 3600)
    more = {"more_mib": round(long_mib - short_mib), "hours": hours}
    print_figure(
        "peak memory of a worker", long_mib, "mib", reference="3 minutes", reference_value=round(short_mib), **more
    )


async def peak_mib(stack: LocalStack, folder: Path, seconds: float) -> float:
    """Return the peak memory of a worker that transcribes one recording and exits."""
    async with signed_in(stack) as client:
        created = await client.create(files=[recording(folder / "speech.wav", seconds)])
        worker = start_worker(stack, folder, "--once")
        _, status, usage = await asyncio.to_thread(os.wait4, worker.pid, 0)
        worker.returncode = os.waitstatus_to_exitcode(status)
        assert worker.returncode == 0, (folder / "worker.log").read_text()
        assert (await client.get(created.id)).status == "completed"
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    asyncio.run(main(parser.parse_args().hours))
