"""A project in memory, for hours of a client in simulated time."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from smelt.backend.realtime import Broadcast, ChangesOf, ConnectionReport, Joined, Left, OnEvent, RowChanged, Suspect
from smelt.contract.batches import BatchStatus
from smelt.contract.channels import batch_channel, feed_channel, notifications_channel, smelt_channel
from smelt.contract.state import Unchanged
from smelt.errors import Unavailable
from tests.harness.histories import NOW, History, Row, snapshot

T = TypeVar("T")

USER = UUID(int=77)
BATCH = UUID(int=88)
STALL_S = 20.0
JOIN_S = 4.0
CHANGE_LAG_S = 0.3


class Server:
    """The rows of one user and the channels of its clients; tests set the state of the network."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.rest: Literal["up", "rejecting", "silent"] = "up"
        self.realtime_is_up = True
        self.copies: tuple[int, ...] = (1,)
        self.delay_s = 0.1
        self.next_poll_s = 2.0
        self.max_smelts_per_read = 1000
        self.requests: list[float] = []
        self.channels: list[SimulatedChannel] = []
        self.begin([])

    def begin(self, histories: list[History]) -> None:
        """Reset all rows to newly created smelts in one batch."""
        self.states = {history.rows[0].id: history.rows[0] for history in histories}
        self.tables: dict[str, dict[UUID, dict[str, Any]]] = {
            "smelts": {},
            "smelt_files": {},
            "smelt_notifications": {},
        }
        self.batch = {"id": BATCH, "title": None, "seq": 0, "completed": 0, "failed": 0, "created_at": NOW}
        self.batch_size = len(histories)

    async def respond(self, read: Callable[[], T]) -> T:
        """Return the result of `read` after a random delay; it is read at a moment within the delay."""
        self.requests.append(time.monotonic())
        rest = self.rest
        await asyncio.sleep(STALL_S if rest == "silent" else self.chance.uniform(0, 0.5))
        if rest != "up":
            raise Unavailable(f"the project is {rest}")
        result = read()
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        return result

    def broadcast(self, topic: str, event: str, payload: object) -> None:
        """Deliver a broadcast to all joined channels: late, repeatedly or not at all, depending on the network."""
        for channel in [one for one in self.channels if one.topic == topic and one.joined]:
            for _ in range(self.chance.choice(self.copies)):
                later(self.chance.uniform(0, self.delay_s), channel.deliver, event, payload)

    def put(self, table: str, row: dict[str, Any]) -> None:
        """Insert or update a row of the user."""
        row_id = UUID(str(row["id"]))
        kind = "UPDATE" if row_id in self.tables[table] else "INSERT"
        self.tables[table][row_id] = row
        self._change({"table": table, "type": kind, "record": row})

    def delete(self, smelt_id: UUID) -> None:
        """Delete a smelt of the user."""
        del self.tables["smelts"][smelt_id]
        self.broadcast(feed_channel(str(USER)), "smelts_deleted", {"ids": [str(smelt_id)]})

    async def play(self, history: History, pause_s: float) -> None:
        """Apply the steps of a history one after another."""
        for step in history.steps:
            await asyncio.sleep(self.chance.uniform(0, pause_s))
            self.states[step.row.id] = step.row
            self.put("smelts", smelt_row(step.row.id, step.row.seq, step.row.status))
            if step.event is not None:
                name = type(step.event).__name__.removesuffix("Event").lower()
                self.broadcast(smelt_channel(str(step.row.id)), name, step.event)
        self._broadcast_end(step.row)

    def _broadcast_end(self, row: Row) -> None:
        self.batch["seq"] += 1
        self.batch["completed" if row.status == "completed" else "failed"] += 1
        self.broadcast(batch_channel(str(BATCH)), "progress", {**self.batch_row(), "batch_id": BATCH})
        record = notification(row.id)
        self.tables["smelt_notifications"][UUID(record["id"])] = record
        self.broadcast(notifications_channel(str(USER)), "new_notification", record)

    def batch_row(self) -> dict[str, Any]:
        ended = self.batch["completed"] + self.batch["failed"]
        status: BatchStatus = "completed" if ended == self.batch_size else "processing"
        return {**self.batch, "total": self.batch_size, "progress": 100 * ended / self.batch_size, "status": status}

    def states_of(self, smelts: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the response of `get_smelts`, which times out for too many smelts with long transcripts."""
        if len(smelts) > self.max_smelts_per_read:
            raise Unavailable("canceling statement due to statement timeout")
        return {"smelts": [self._state(**one) for one in smelts], "missing": []}

    def _state(self, id: UUID, after_seq: int | None, segments_after: int | None) -> object:
        row = self.states[id]
        place = self.chance.randint(1, 3) if row.status == "pending" else None
        if after_seq is not None and after_seq >= row.seq:
            return Unchanged(id=id, seq=row.seq, next_poll_s=self.next_poll_s, queue_position=place, worker_online=True)
        return snapshot(row, segments_after or 0, queue_position=place)

    def _change(self, change: dict[str, Any]) -> None:
        for channel in [one for one in self.channels if one.topic == feed_channel(str(USER)) and one.joined]:
            later(CHANGE_LAG_S, channel.deliver_change, change)  # Changes arrive in order.


class SimulatedProject:
    """The project of a client, in memory."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.rpc = SimulatedRpc(server)
        self.realtime = SimulatedRealtime(server)

    async def user_id(self) -> UUID:
        return USER

    async def aclose(self) -> None:
        pass


class SimulatedRpc:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def call_once(self, function: str, /, *, smelts: list[dict[str, Any]]) -> object:
        assert function == "get_smelts"
        assert len(smelts) <= 200
        return await self._server.respond(lambda: self._server.states_of(smelts))

    async def row(self, table: str, row_id: UUID) -> object:
        return await self._server.respond(self._server.batch_row)

    async def rows(self, table: str, *filters: tuple[str, str, str]) -> list[object]:
        since = {column: value for column, operator, value in filters if operator == "gte"}.get("created_at", "")
        return await self._server.respond(
            lambda: [row for row in self._server.tables[table].values() if row["created_at"] >= since]
        )


class SimulatedRealtime:
    """Channels that are joined, lost and rejoined depending on the state of the server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def add_state_listener(self, listener: Callable[[str], None]) -> None:
        pass

    def report(self) -> ConnectionReport:
        joined = sum(channel.joined for channel in self._server.channels)
        return ConnectionReport("connected", 1, len(self._server.channels), joined, 0, 0, None)

    async def join(self, topic: str, on_event: OnEvent, *, changes: Sequence[ChangesOf] = ()) -> "SimulatedChannel":
        return SimulatedChannel(self._server, topic, on_event)


class SimulatedChannel:
    def __init__(self, server: Server, topic: str, on_event: OnEvent) -> None:
        self.topic = topic
        self.joined = False
        self.rejoin_count = 0
        self._server = server
        self._on_event = on_event
        server.channels.append(self)
        self._joining = self._join_soon()

    def disconnect(self) -> None:
        if self.joined:
            self.joined = False
            self._joining = self._join_soon()
            self._on_event(Left())

    def suspect(self) -> None:
        if self.joined:
            self._on_event(Suspect())

    def deliver(self, event: str, payload: object) -> None:
        if self.joined:
            self._on_event(Broadcast(event, payload))

    def deliver_change(self, change: dict[str, Any]) -> None:
        if self.joined:
            self._on_event(RowChanged(change))

    async def leave(self) -> None:
        if self in self._server.channels:
            self._server.channels.remove(self)
        self._joining.cancel()
        self.joined = False
        await asyncio.sleep(0.01)

    def _join_soon(self) -> asyncio.TimerHandle:
        return later(self._server.chance.uniform(0, JOIN_S), self._join)

    def _join(self) -> None:
        if self._server.realtime_is_up:
            self.joined = True
            self._on_event(Joined())
        else:
            self._joining = self._join_soon()


def later(seconds: float, call: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, call, *arguments)


def wall_clock() -> str:
    return (NOW + timedelta(seconds=time.monotonic())).isoformat()


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait in simulated time until a condition holds."""
    while not condition():  # noqa: ASYNC110 - The time is simulated.
        await asyncio.sleep(1)


async def with_timeout(seconds: float, work: Awaitable[T]) -> T:
    """Await with a timeout in simulated time."""
    return await asyncio.wait_for(work, seconds)


def smelt_row(smelt_id: UUID, seq: int, status: str) -> dict[str, Any]:
    unknown = ("batch_id", "estimated_end_at", "outcome", "error_code", "error_message", "submitted_at", "started_at")
    return {
        **dict.fromkeys(unknown),
        "id": str(smelt_id),
        "mode": "separate",
        "default_prompt_names": ["summarize"],
        "seq": seq,
        "run": 1,
        "status": status,
        "percentage": 0,
        "message": "",
        "created_at": NOW.isoformat(),
        "completed_at": NOW.isoformat() if status in ("completed", "failed") else None,
    }


def file_row(file_id: UUID, smelt_id: UUID, status: str) -> dict[str, Any]:
    unknown = ("duration_seconds", "language", "error_code", "error_message")
    return {
        **dict.fromkeys(unknown),
        "id": str(file_id),
        "smelt_id": str(smelt_id),
        "position": 0,
        "filename": "meeting.wav",
        "input_type": "audio",
        "size_bytes": 1000,
        "status": status,
        "stage": "transcribing",
        "progress": 0,
        "created_at": NOW.isoformat(),
    }


def notification(smelt_id: UUID) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "user_id": str(USER),
        "smelt_id": str(smelt_id),
        "type": "smelt_completed",
        "title": "",
        "message": "",
        "data": {},
        "created_at": wall_clock(),
        "seen_at": None,
        "read_at": None,
    }
