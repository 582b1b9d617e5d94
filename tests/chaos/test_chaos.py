"""All faults of processes, the database and the network in a random order: each smelt completes, once."""

import os
import random
from pathlib import Path

import pytest

from tests.chaos.ordeal import FAULTS, Plan, play
from tests.harness.stacks import StackHandle

SECONDS = 25.0


@pytest.mark.timeout(400)
@pytest.mark.own_project("since its faults hit the servers")
# httpx leaves connections that it was opening when a request timed out to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_chaos_of_all_faults_completes_each_smelt_once(fresh_stack: StackHandle, tmp_path: Path) -> None:
    """`SMELT_CHAOS_SEED` repeats the faults of a run; their times differ a little."""
    seed = int(os.environ.get("SMELT_CHAOS_SEED") or random.randrange(10**6))
    print(f"SMELT_CHAOS_SEED={seed}")
    outcome = await play(fresh_stack, tmp_path, Plan(texts=60, recordings=6, seconds=SECONDS, seed=seed))
    print(outcome)
    assert outcome.smelts == 66
    assert sum(outcome.faults.values()) >= len(FAULTS) / 2
