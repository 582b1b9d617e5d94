"""The command `scripts/chaos`."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.chaos.plan import Plan
from tests.chaos.run import play
from tests.harness.stacks import end_cluster, running_local

ROUND_MINUTES: Final = 3.0


def main() -> None:
    """Run smelts under faults on an embedded stack, and print what happened as lines of JSON."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Run smelts on three workers under faults.")
    parser.add_argument(
        "--minutes", type=float, default=ROUND_MINUTES, help="in rounds of three; how long there are faults"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--texts", type=int, default=300, help="of a round")
    parser.add_argument("--recordings", type=int, default=30, help="of a round")
    parser.add_argument("--watchers", type=int, default=80)
    arguments = parser.parse_args()
    # A background job of a script ignores SIGINT. Both end all processes and disks of a run.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    rounds = max(1, round(arguments.minutes / ROUND_MINUTES))
    plan = Plan(
        seed=arguments.seed,
        texts=arguments.texts,
        recordings=arguments.recordings,
        watchers=arguments.watchers,
        seconds=60 * arguments.minutes / rounds,
        lease_s=10,
    )
    with ExitStack() as leaving:
        leaving.callback(end_cluster)
        folder = Path(tempfile.mkdtemp(prefix="smelt-chaos-"))
        print(f"seed {plan.seed}; logs are in {folder} after a failure", file=sys.stderr)
        stack = leaving.enter_context(running_local())
        asyncio.run(play(stack, folder, plan, rounds=rounds, write=lambda line: print(line, flush=True)))
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
