"""Clients that join, broadcast and leave at random during faults, with a record of sent and received messages.

A logical clock orders the events. A client that joined before a message was sent, and replied to a heartbeat after the
message was acknowledged, must have received it. No client may receive a message twice.
"""

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.harness.proxies import FaultyProxy
from tests.integration.local.realtime.realtime_server import Reachable
from tests.integration.local.realtime.server_process import ServerProcess

ROOMS = ("a", "b", "c", "d")
PRIVATE = frozenset({"c", "d"})
TIMEOUT_S = 60.0
FAULT_INTERVAL_S = 0.3
MESSAGES_BETWEEN_FAULTS = 48
"""Long enough for clients to recover between faults on a slow machine."""
PAUSE_S = 0.2
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'realtime'"
BINDING = {"event": "*", "schema": "public", "table": "notes"}


@dataclass
class SupervisedChannel:
    """A socket in a room; it must have received everything until `proved_at`."""

    room: str
    joined_at: int
    confirmed_at: int = 0
    received: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Sent:
    """An acknowledged message, and the channel that sent it."""

    name: str
    sender: SupervisedChannel
    sent_at: int
    acked_at: int


@dataclass
class Record:
    """All messages that the clients sent and received."""

    memberships: list[SupervisedChannel] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    clock: Any = field(default_factory=lambda: count(1))

    def lost(self) -> list[str]:
        """Return the acknowledged messages that a joined client did not receive."""
        return [sent.name for sent, member in self.expected_deliveries() if not member.received[sent.name]]

    def duplicates(self) -> list[str]:
        """Return the messages that a client received more than once."""
        return [name for member in self.memberships for name, times in member.received.items() if times > 1]

    def expected_deliveries(self) -> list[tuple[Sent, SupervisedChannel]]:
        """Return the messages with the channels that must have received them."""
        return [
            (sent, member)
            for member in self.memberships
            for sent in self.sent
            if member.room == sent.sender.room
            and member is not sent.sender
            and member.joined_at < sent.sent_at
            and sent.acked_at < member.confirmed_at
        ]


class Client:
    """A client, which opens one socket after the other."""

    def __init__(self, server: Reachable, url: str, record: Record, name: int) -> None:
        self._url = f"{url.replace('http', 'ws', 1)}/realtime/v1/websocket?apikey={server.keys.service_role_key}"
        self._record = record
        self._name = name
        self._random = random.Random(name)
        self._numbers = count()

    async def run_rounds(self, rounds: int, messages: int) -> None:
        """Connect `rounds` times, and each time join, broadcast and leave; retry after faults."""
        for _ in range(rounds):
            finished = False
            while not finished:
                with suppress(websockets.WebSocketException, OSError, _Broken):
                    await self._round(messages)
                    finished = True

    async def _round(self, messages: int) -> None:
        async with websockets.connect(self._url, ping_interval=None, open_timeout=TIMEOUT_S) as socket:
            link = _Link(socket, self._record)
            async with link.reading():
                rooms = self._random.sample(ROOMS, k=self._random.randint(1, len(ROOMS)))
                members = [member for room in rooms if (member := await link.join(room)) is not None]
                if members and self._random.random() < 0.5:
                    await link.track(members[0])
                for _ in range(messages if members else 0):
                    await link.broadcast(self._random.choice(members), f"{self._name}-{next(self._numbers)}")
                for member in members[::2]:
                    await link.leave(member)
                await link.send_heartbeat()
                if self._random.random() < 0.3:
                    socket.transport.abort()


class _Broken(Exception):
    """The socket closed before the reply."""


class _Link:
    """A socket with its channels."""

    def __init__(self, socket: ClientConnection, record: Record) -> None:
        self._socket = socket
        self._record = record
        self._refs = count(1)
        self._replies: dict[str, asyncio.Future[str]] = {}
        self._joined: dict[str, SupervisedChannel] = {}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        reader = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reader.cancel()
            await asyncio.wait((reader,))

    async def join(self, room: str) -> SupervisedChannel | None:
        """Join and return the channel; None if the join fails, as it may while the database is down."""
        config = {"broadcast": {"ack": True}, "private": room in PRIVATE, "presence": {"key": "", "enabled": True}}
        if room == "a":
            config["postgres_changes"] = [BINDING]
        member = self._joined[room] = SupervisedChannel(room, joined_at=0)
        if await self._request(room, "phx_join", {"config": config}) != "ok":
            del self._joined[room]
            return None
        member.joined_at = next(self._record.clock)
        self._record.memberships.append(member)
        return member

    async def broadcast(self, member: SupervisedChannel, name: str) -> None:
        sent_at = next(self._record.clock)
        payload = {"type": "broadcast", "event": "e", "payload": {"name": name}}
        acknowledged = await self._send(member.room, "broadcast", payload)
        # Without a database the server cannot check the permission, and sends no reply.
        await self.send_heartbeat()
        if acknowledged.done() and not acknowledged.cancelled():
            self._record.sent.append(Sent(name, member, sent_at, next(self._record.clock)))

    async def track(self, member: SupervisedChannel) -> None:
        await self._request(member.room, "presence", {"type": "presence", "event": "track", "payload": {}})

    async def leave(self, member: SupervisedChannel) -> None:
        asked_at = next(self._record.clock)
        await self._request(member.room, "phx_leave", {})
        member.confirmed_at = asked_at
        self._joined.pop(member.room, None)

    async def send_heartbeat(self) -> None:
        """Wait for a heartbeat reply: all earlier messages have been received."""
        asked_at = next(self._record.clock)
        await self._request(None, "heartbeat", {})
        for member in self._joined.values():
            member.confirmed_at = asked_at

    async def _request(self, room: str | None, event: str, payload: Any) -> str:
        reply = await self._send(room, event, payload)
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait((reply,))
        if reply.cancelled():
            raise _Broken
        return reply.result()

    async def _send(self, room: str | None, event: str, payload: Any) -> asyncio.Future[str]:
        ref = str(next(self._refs))
        reply = self._replies[ref] = asyncio.get_running_loop().create_future()
        topic = "phoenix" if room is None else f"realtime:{room}"
        await self._socket.send(json.dumps({"topic": topic, "event": event, "payload": payload, "ref": ref}))
        return reply

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                self._dispatch(json.loads(data))
        finally:
            for reply in self._replies.values():
                reply.cancel()

    def _dispatch(self, frame: dict[str, Any]) -> None:
        match frame["event"]:
            case "phx_reply":
                self._replies.pop(frame["ref"]).set_result(frame["payload"]["status"])
            case "phx_close":
                self._joined.pop(_room(frame), None)
            case "broadcast":
                member = self._joined.get(_room(frame))
                if member is not None:
                    member.received[frame["payload"]["payload"]["name"]] += 1


def _room(frame: dict[str, Any]) -> str:
    return str(frame["topic"]).removeprefix("realtime:")


async def churn(
    server: Reachable, process: ServerProcess, *, clients: int, rounds: int, messages: int
) -> tuple[Record, Counter[str]]:
    """Run clients during faults; return the record, and the number of faults of each kind."""
    record, error_summary = Record(), Counter[str]()
    proxy = FaultyProxy(server.http_url)
    await proxy.start()
    lives = asyncio.gather(
        *(Client(server, proxy.url, record, name).run_rounds(rounds, messages) for name in range(clients))
    )
    breaking = asyncio.create_task(_break(server, process, proxy, record, error_summary))
    try:
        await lives
    finally:
        breaking.cancel()
        await asyncio.wait((breaking,))
        process.send(signal.SIGCONT)
        await proxy.close()
    return record, error_summary


async def _break(
    server: Reachable, process: ServerProcess, proxy: FaultyProxy, record: Record, error_summary: Counter[str]
) -> None:
    while True:
        for fault in ("sockets reset", "gateway paused", "database connections cut"):
            enough = len(record.sent) + MESSAGES_BETWEEN_FAULTS
            await asyncio.sleep(FAULT_INTERVAL_S)
            # ASYNC110 suggests an `asyncio.Event`, which does not fit a list with many writers.
            while len(record.sent) < enough:  # noqa: ASYNC110
                await asyncio.sleep(FAULT_INTERVAL_S / 10)
            match fault:
                case "sockets reset":
                    proxy.cut()
                case "gateway paused":
                    process.send(signal.SIGSTOP)
                    await asyncio.sleep(PAUSE_S)
                    process.send(signal.SIGCONT)
                case _:
                    await server.sql(CUT)
            error_summary[fault] += 1
