"""Measure how long commands take to start: processor time of `--help`, and the seconds until a worker claims.

    python scripts/bench/start.py [--rounds 11]

The reference of the help is Python with typer and a console of rich, which print it; that of a worker is a process that
imports faster-whisper and loads the same model. The processor time of a worker includes one text and its end. Figures
are medians of rounds that alternate between a figure and its reference. The goals are 0.15 s for `smelt --help`, and
0.3 s more than the reference for a worker. Of its own, typer imports pydantic for the help of a command with options.
`local_start.py` measures the embedded stack.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from bench_common import print_medians, signed_in, start_worker

import smelt
from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.local import LocalStack
from smelt.processor.speech.demo_model_card import demo_folder

IMPORTS = [sys.executable, "-c", "import typer, rich.console"]
LOAD = """
import sys, time
from faster_whisper import WhisperModel
WhisperModel(sys.argv[1], device="cpu", compute_type="int8")
print(time.time(), flush=True)
"""

Measured = tuple[float, float]
"""Seconds until the start is complete, and seconds of the processor."""


async def main(rounds: int) -> None:
    """Measure the help, then the worker."""
    for arguments in ([], ["submit"]):
        command = [sys.executable, "-m", "smelt", *arguments, "--help"]
        helped, imported = await alternate(rounds, threaded(exit_of, command), threaded(exit_of, IMPORTS))
        print_figures(" ".join(["smelt", *arguments, "--help"]), helped, "import typer, rich.console", imported)
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        async with LocalStack() as stack, signed_in(stack) as client:
            claim = partial(first_claim, stack, client, Path(name))
            claimed, loaded = await alternate(rounds, claim, threaded(load_alone))
    print_figures("worker start, to the first claim", claimed, "faster-whisper loads the model", loaded)


def print_figures(figure: str, measured: list[Measured], reference: str, referred: list[Measured]) -> None:
    """Print the seconds until the start is complete, and those of the processor."""
    starts_s, processors_s = zip(*measured, strict=True)
    reference_starts_s, reference_processors_s = zip(*referred, strict=True)
    print_medians(figure, starts_s, "s", reference, reference_starts_s)
    print_medians(f"processor time, {figure}", processors_s, "s", reference, reference_processors_s)


async def alternate(
    rounds: int, first: Callable[[], Awaitable[Measured]], second: Callable[[], Awaitable[Measured]]
) -> tuple[list[Measured], list[Measured]]:
    """Return the rounds of both, measured in turn."""
    # The first start reads files from the disk; a worker may also measure the machine.
    await first(), await second()
    pairs = [(await first(), await second()) for _ in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def threaded(measure: Callable[..., Measured], *arguments: object) -> Callable[[], Awaitable[Measured]]:
    """Return a measurement that blocks no event loop."""
    return partial(asyncio.to_thread, measure, *arguments)


def exit_of(command: list[str]) -> Measured:
    """Run a command until it exits."""
    began_s = time.time()
    processor_s = ended(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    return time.time() - began_s, processor_s


def load_alone() -> Measured:
    """Load the bundled model in a process without smelt."""
    began_s = time.time()
    process = subprocess.Popen([sys.executable, "-c", LOAD, str(demo_folder())], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        loaded_s = float(output.readline())
    return loaded_s - began_s, ended(process)


async def first_claim(stack: LocalStack, client: smelt.Client, folder: Path) -> Measured:
    """Start a worker for one text, which needs no model: all of its time is that of the start."""
    created = await client.create(text="Anna sends the report by Friday.")
    began_s = time.time()
    worker = start_worker(stack, folder, "--once")
    processor_s = await asyncio.to_thread(ended, worker)
    assert worker.returncode == 0, (folder / "worker.log").read_text()
    async with Project(stack.api_url, stack.service_role_key) as project:
        [attempt] = (await WorkerRpc(project.rpc).get_attempts(created.id)).attempts
    return attempt.claimed_at.timestamp() - began_s, processor_s


def ended(process: "subprocess.Popen[bytes]") -> float:
    """Wait until a process has exited; return the processor time of it and of the processes that it waited for."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    asyncio.run(main(parser.parse_args().rounds))
