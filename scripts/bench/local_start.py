"""Measure how long `smelt local start` takes until the stack is ready: from nothing, from the template, and warm.

Prints one line of JSON for each figure; the reference of all three is `initdb` alone, timed in the same run with the
same binaries, the least that any Postgres costs. PostgREST is fetched before the measurement. A last line reports how
long a test waits for a fresh stack of a running cluster; its reference is a `LocalStack` of the same run.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_common import print_figure

from smelt.local import LocalCluster, LocalStack
from smelt.local.database.postgres import binaries
from smelt.local.gateway.postgrest import ensure_program
from smelt.local.paths import cache_folder
from smelt.settings import LocalSettings


def main(rounds: int) -> None:
    """Measure the best of a few rounds of each."""
    program = asyncio.run(ensure_program(cache_folder(), LocalSettings.read().postgrest))
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as home:
        env = {**os.environ, "XDG_CACHE_HOME": f"{home}/cache", "SMELT_POSTGREST": str(program)}
        reference_s = min(timed(lambda: initdb(Path(home))) for _ in range(rounds))
        figures: dict[str, list[float]] = {"from nothing": [], "from the template": [], "warm": []}
        for _ in range(rounds):
            shutil.rmtree(f"{home}/cache", ignore_errors=True)
            for figure, folder in (("from nothing", "first"), ("from the template", "second"), ("warm", "second")):
                figures[figure].append(timed(lambda folder=folder: smelt("start", f"{home}/{folder}", env)))
                smelt("stop", f"{home}/{folder}", env)
            shutil.rmtree(f"{home}/first")
            shutil.rmtree(f"{home}/second")
        fresh_s, stack_s = asyncio.run(clones(program, rounds))
    for figure, seconds in figures.items():
        print_figure(
            f"local start, {figure}", min(seconds), "seconds", reference="initdb alone", reference_value=reference_s
        )
    print_figure("fresh stack of a cluster", fresh_s, "seconds", reference="a LocalStack", reference_value=stack_s)


async def clones(program: Path, rounds: int) -> tuple[float, float]:
    """Return the seconds until a stack is ready, the best of a few: one of a cluster, and one on its own."""
    stack_s, fresh_s = [], []
    async with LocalCluster(postgrest=program) as cluster:
        async with cluster.fresh():
            pass  # The first one makes the template.
        for _ in range(rounds):
            for seconds, stack in ((fresh_s, cluster.fresh()), (stack_s, LocalStack(postgrest=program))):
                began = time.monotonic()
                async with stack:
                    seconds.append(time.monotonic() - began)
    return min(fresh_s), min(stack_s)


def timed(action: Callable[[], None]) -> float:
    """Return the seconds that an action takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def smelt(verb: str, folder: str, env: dict[str, str]) -> None:
    """Run `smelt local start` on free ports, or `smelt local stop`."""
    options = ["--folder", folder, *(["--api-port", "0", "--db-port", "0"] if verb == "start" else [])]
    command = [sys.executable, "-m", "smelt", "local", verb, *options]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


def initdb(home: Path) -> None:
    """Make an empty cluster; if this process runs as root, which Postgres rejects, as another user."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="initdb-"))
    program = binaries() / "initdb"
    user = "nobody" if os.geteuid() == 0 else None
    try:
        if user is not None:
            shutil.chown(folder, user)
        command = [str(program), "--auth=trust", "--no-sync", "-U", "postgres", "-D", str(folder / "data")]
        subprocess.run(command, user=user, cwd=home.anchor, check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args().rounds)
