"""Watches of a batch yield the states of the shared cases; the JavaScript package runs the same cases.

A case of `tests/contract/batch.jsonl` has steps: `row` sets what a read returns, `watch` begins to iterate, `join`
joins the channels again, and `event` is a broadcast. `yielded` has the `seq` of the states of each watch.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.realtime import Broadcast, ChangesOf, Joined, OnEvent, RealtimeConnection
from smelt.contract.batches import TERMINAL_BATCH_STATUSES, Batch
from smelt.subscriber.batch import BatchWatch

BATCH = UUID(int=1)
CASES = [json.loads(line) for line in (Path(__file__).parents[2] / "contract" / "batch.jsonl").read_text().splitlines()]


class Channel:
    """A joined channel, which is left by removing it from those of the project."""

    joined = True

    def __init__(self, project: "Project", on_event: OnEvent) -> None:
        self.project, self.on_event = project, on_event

    async def leave(self) -> None:
        self.project.channels.remove(self)


class Project:
    """One batch: its row and its channels."""

    def __init__(self) -> None:
        self.row: list[Any] = []
        self.channels: list[Channel] = []

    def state(self, seq: int, status: str) -> dict[str, Any]:
        return {"seq": seq, "status": status, "total": 2, "completed": 1, "failed": 0, "progress": 50.0}

    async def get_batch(self, batch_id: UUID) -> Batch:
        fields = {"id": batch_id, "title": None, "created_at": "2026-01-01T00:00:00Z"}
        return Batch.model_validate({**fields, **self.state(*self.row)})

    async def join(self, _topic: str, on_event: OnEvent, *, changes: Sequence[ChangesOf]) -> Channel:
        channel = Channel(self, on_event)
        self.channels.append(channel)
        on_event(Joined())
        return channel


async def play(project: Project, watches: list[asyncio.Task[None]], yielded: list[list[int]], step: Any) -> None:
    match step:
        case {"row": row}:
            project.row = row
        case {"watch": _}:
            yielded.append([])
            watches.append(asyncio.create_task(collect(project, yielded[-1].append)))
        case {"join": _}:
            for channel in list(project.channels):
                channel.on_event(Joined())
        case {"event": [seq, status]}:
            for channel in list(project.channels):
                channel.on_event(Broadcast("progress", {"batch_id": str(BATCH), **project.state(seq, status)}))
    for _ in range(50):  # Nothing waits for a timer: each task that is ready runs.
        await asyncio.sleep(0)


async def collect(project: Project, add: Callable[[int], None]) -> None:
    realtime, calls = cast(RealtimeConnection, project), cast(ClientRpc, project)
    async for state in BatchWatch(BATCH, realtime, calls, polling=True).updates():
        add(state.seq)


@pytest.mark.parametrize("case", CASES, ids=[case["claim"] for case in CASES])
async def test_watches_of_a_batch_yield_the_shared_cases(case: dict[str, Any]) -> None:
    project = Project()
    watches: list[asyncio.Task[None]] = []
    yielded: list[list[int]] = []
    for step in case["steps"]:
        await play(project, watches, yielded, step)
    assert yielded == case["yielded"]
    statuses = _statuses(case["steps"])
    assert [watch.done() for watch in watches] == [statuses[seqs[-1]] in TERMINAL_BATCH_STATUSES for seqs in yielded]
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)
    assert project.channels == []


def _statuses(steps: list[dict[str, Any]]) -> dict[int, str]:
    """Return the status of each `seq`."""
    return dict(state for step in steps for name, state in step.items() if name in ("row", "event"))
