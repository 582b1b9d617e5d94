"""While no worker is online, the commands print that instead of the stage."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.commands import STANDUP, environment, smelt, worker
from tests.harness.endless_model import ENDLESS_MODEL
from tests.harness.stacks import Stack
from tests.harness.waiting import wait_until

NO_WORKER = "Waiting for a worker: none is running. Start one with `smelt worker`."
# A live watch polls every 30 to 37.5 s.
POLLED_S = 60.0


@contextmanager
def watching(stack: Stack, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `smelt submit --watch` with a recording; its output goes to a file."""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "smelt", "submit", STANDUP, "--watch"], env=environment(stack.env()), stdout=sink
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.own_project("whose only workers are those of the test")
def test_watch_names_the_missing_worker_before_one_starts_and_after_it_drains(
    fresh_stack: Stack, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    env = {**fresh_stack.env(), "SMELT_DRAIN_S": "5"}
    (tmp_path / "sitecustomize.py").write_text(ENDLESS_MODEL)

    def is_last(text: str) -> bool:
        return text in (output.read_text().splitlines() or [""])[-1]

    with watching(fresh_stack, output) as process:
        wait_until(lambda: is_last(NO_WORKER), "the sentence before a worker starts")
        with worker({**env, "PYTHONPATH": str(tmp_path)}, tmp_path / "first.log"):
            wait_until(lambda: "Good morning" in output.read_text(), "a segment")
            assert output.read_text().count(NO_WORKER) == 1
        wait_until(lambda: is_last(NO_WORKER), "the sentence after the drain", POLLED_S)
        with worker(env, tmp_path / "second.log"):
            assert process.wait(60) == 0
    lines = output.read_text().splitlines()
    percentages = [line.split(" %")[0].strip() for line in lines if NO_WORKER in line]
    assert len(percentages) == 2
    assert percentages[0] == "0.0"
    assert float(percentages[1]) >= 20
    assert "Resuming" not in output.read_text()


def test_show_names_the_missing_worker_of_a_smelt_that_has_not_ended(stack: Stack) -> None:
    created = smelt("submit", "--text", "Ship it on Monday.", env=stack.env()).stdout.split()[2]
    try:
        for form in ("md", "txt"):
            assert NO_WORKER in smelt("show", created, "--format", form, env=stack.env()).stderr
    finally:
        smelt("cancel", created, env=stack.env())
    assert NO_WORKER not in smelt("show", created, "--format", "txt", env=stack.env()).stderr


def test_options_of_the_command_line_reach_the_smelt_and_show_names_its_missing_model(stack: Stack) -> None:
    flags = ("--language", "de", "--translate", "--vocabulary", "Anna Schmidt", "--word-times", "--transcript-only")
    more = ("--channels", "separate", "--model", "missing", "--keep-audio", "24", "--metadata", "course=17")
    created = smelt("submit", STANDUP, *flags, *more, env=stack.env()).stdout.split()[2]
    options = {
        "language": "de",
        "task": "translate",
        "vocabulary": ["Anna Schmidt"],
        "word_times": True,
        "channels": "separate",
        "model": "missing",
        "keep_audio_h": 24,
    }
    try:
        shown = smelt("show", created, env=stack.env()).stderr
    finally:
        smelt("delete", created, "--yes", env=stack.env())
    printed = {name: json.loads(value) for name, value in re.findall(r"^(\w+): (\{.*)$", shown, re.MULTILINE)}
    assert printed == {"Options": options, "Metadata": {"course": "17"}}
    assert "No worker has the model missing." in shown
    assert NO_WORKER not in shown


def test_options_that_are_rejected_name_the_option(stack: Stack) -> None:
    rejected = smelt("submit", STANDUP, "--language", "deutsch", env=stack.env())
    assert rejected.returncode != 0
    assert "must be the code of a language" in rejected.stderr
