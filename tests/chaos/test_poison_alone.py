"""A poisonous recording among good ones: it alone fails, and no other smelt is tried again because of it."""

import shutil
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.harness.stacks import Stack
from tests.harness.worker_harness import RECORDINGS, WorkerProcess, attempts_of, failures, submitted, user_client

GOOD = ("greeting.ogg", "agreement.ogg", "number.ogg", "status.ogg", "deadline.ogg")
GOOD_TIMES = 4
CONCURRENCY = 4
TIMEOUT_S = 200.0

KILLED_BY_POISON = """
import sys
if "smelt.processor.children.decode" in sys.orig_argv:
    import os, signal
    import smelt.processor.media.decode as media
    original = media.decode
    def decode(source, *arguments, **more):
        # The decoder gets no more of the name than the suffix, which no good recording has.
        if source.name.endswith(".oga"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return original(source, *arguments, **more)
    media.decode = decode
"""
"""The text of a `sitecustomize.py`: a decoder crashes, as in native code, on one recording."""


@pytest.mark.timeout(300)
@pytest.mark.own_project("since its workers claim every smelt that is due")
async def test_poison_of_the_decoder_fails_with_its_own_code_and_disturbs_no_other_smelt(
    fresh_stack: Stack, tmp_path: Path
) -> None:
    poison = Path(shutil.copy(RECORDINGS / "budget.ogg", tmp_path / "poison.oga"))
    good = [RECORDINGS / name for name in GOOD] * GOOD_TIMES
    async with user_client(fresh_stack) as app:
        ids = await submitted(app, *good[:CONCURRENCY], poison, *good[CONCURRENCY:])
        with ExitStack() as running:
            for name in ("one", "two"):
                folder = tmp_path / name
                folder.mkdir()
                settings = {"SMELT_HOST": name, "SMELT_CONCURRENCY": str(CONCURRENCY)}
                worker = WorkerProcess(fresh_stack, folder, before=KILLED_BY_POISON, **settings)
                running.enter_context(closing(worker))
            states = [await app.ended(smelt_id, TIMEOUT_S) for smelt_id in ids]
        known = await attempts_of(fresh_stack, *ids)
    assert (states[CONCURRENCY].status, states[CONCURRENCY].error_code) == ("failed", "decoding_failed")
    del states[CONCURRENCY], known[CONCURRENCY]
    assert [state.status for state in states] == ["completed"] * len(good)
    assert [(one.failure_count, failures(one), len(one.attempts)) for one in known] == [(0, [], 1)] * len(good)
