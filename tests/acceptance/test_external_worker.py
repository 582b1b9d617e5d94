"""The example of an external service transcribes what a worker dispatches to it, over the gateway."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from smelt.contract.work import SmeltAttempts
from tests.acceptance.commands import (
    ROOT,
    STANDUP,
    STANDUP_TEXT,
    Event,
    accuracy,
    environment,
    submit,
    submitting,
    worker,
)
from tests.acceptance.gateway_process import gateway_process
from tests.harness.gateways import SIGNING_KEY
from tests.harness.processes import started
from tests.harness.stacks import Stack, running_local
from tests.harness.waiting import wait_until
from tests.harness.worker_harness import attempts_of, failures

pytestmark = pytest.mark.timeout(300)

TOKEN = "a token of the service"
SHORT = ROOT / "tests" / "recordings" / "action_item.flac"
# Of a longer recording, the model of the service yields six segments, the last one after a second, after which the
# service posts them; then nothing.
ENDLESS = """
import threading, time
from itertools import islice
from faster_whisper import WhisperModel
_transcribe = WhisperModel.transcribe
def transcribe(*args, **more):
    segments, info = _transcribe(*args, **more)
    if info.duration < 30:
        return segments, info
    def some():
        yield from islice(segments, 5)
        time.sleep(1)  # The service posts what it has once a second.
        yield next(segments)
        threading.Event().wait()
    return some(), info
WhisperModel.transcribe = transcribe
"""


@dataclass(frozen=True)
class Dispatched:
    """A project, and the process of a service to which its worker dispatches."""

    stack: Stack
    service: "subprocess.Popen[bytes]"


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run the example with the demo model on a free port; yield the address for jobs."""
    (folder / "sitecustomize.py").write_text(ENDLESS)
    env = {
        "PYTHONPATH": str(folder),
        "SERVICE_MODEL": str(ROOT / "smelt" / "processor" / "demo_model"),
        "SERVICE_TOKEN": TOKEN,
    }
    log = folder / "service.log"
    command = [sys.executable, "-m", "uvicorn", "external_worker:app", "--port", "0"]
    options: dict[str, Any] = {"env": environment(env), "cwd": ROOT / "scripts" / "examples"}
    with log.open("wb") as sink, started(command, stdout=sink, stderr=sink, **options) as process:
        wait_until(lambda: "running on" in log.read_text() or process.poll() is not None, "a service that listens", 90)
        found = re.search(r"running on (http://\S+)", log.read_text())
        assert found is not None, log.read_text()
        yield f"{found[1]}/jobs", process


@pytest.fixture(scope="module")
def dispatched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatched]:
    """Run a project with a gateway, a service, and one worker, which dispatches to it."""
    folder = tmp_path_factory.mktemp("dispatched")
    with running_local() as stack, service(folder) as (url, process):
        env = {**stack.env(), "SMELT_SIGNING_KEYS": SIGNING_KEY, "SMELT_DRAIN_S": "5", "SMELT_DISPATCH_LEASE_S": "15"}
        with gateway_process(env, folder / "gateway.log") as gateway:
            env |= {"SMELT_GATEWAY_URL": gateway.url, "SMELT_DISPATCH_URL": url, "SMELT_DISPATCH_TOKEN": TOKEN}
            with worker(env, folder / "dispatching.log"):
                yield Dispatched(stack, process)


def texts(events: list[Event]) -> dict[int, str]:
    """Return the texts of the segments, by index and in its order."""
    found = {one["index"]: one["text"] for event in events for one in event.get("segments", [])}
    return dict(sorted(found.items()))


def known_attempts(stack: Stack, smelt_id: str) -> SmeltAttempts:
    [known] = asyncio.run(attempts_of(stack, UUID(smelt_id)))
    return known


@pytest.mark.own_project("whose only workers are those of the test")
def test_external_worker_transcribes_and_a_worker_completes(dispatched: Dispatched) -> None:
    code, events = submit(SHORT, "--transcript-only", env=dispatched.stack.env())
    assert code == 0, events
    percentages = [event["progress"]["percentage"] for event in events if event["event"] == "progress"]
    assert percentages == sorted(percentages)
    assert any(event.get("status") == "transcribing" for event in events)
    assert accuracy(" ".join(texts(events).values()), SHORT.with_suffix(".txt").read_text()) > 0.9
    known = known_attempts(dispatched.stack, events[-1]["smelt_id"])
    assert [(one.ended_as, one.risk, one.is_failure) for one in known.attempts] == [
        ("released", "external", False),
        ("settled", None, False),
    ]


@pytest.mark.own_project("whose only workers are those of the test")
def test_external_worker_killed_in_the_middle_costs_one_failure_and_another_worker_resumes(
    dispatched: Dispatched, tmp_path: Path
) -> None:
    events: list[Event] = []
    with submitting(STANDUP, "--transcript-only", env=dispatched.stack.env()) as (_, lines):
        # The service sends six, perhaps in several events, then waits.
        while len(texts(events)) < 6:
            events.append(json.loads(lines.readline()))
        dispatched.service.kill()
        saved = texts(events)
        with worker(dispatched.stack.env(), tmp_path / "worker.log"):
            while events[-1]["event"] not in ("completed", "failed"):
                events.append(json.loads(lines.readline()))
    assert events[-1]["event"] == "completed"
    assert texts(events) | saved == texts(events)
    assert accuracy(" ".join(texts(events).values()), STANDUP_TEXT) > 0.9
    known = known_attempts(dispatched.stack, events[-1]["smelt_id"])
    assert failures(known) == ["external"]
    assert known.attempts[0].ended_as == "expired"
    segments = {one["index"]: one for event in events for one in event.get("segments", [])}
    assert segments[6]["start"] >= segments[5]["end"], "the model began at the end of the last saved segment"
