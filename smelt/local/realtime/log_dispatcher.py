"""Publishes messages of the WAL: rows of `realtime.messages` as broadcasts, other rows as changes.

Both wait until their commit is visible, in separate queues: finding the subscribers of a change takes longer than
sending a broadcast.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from smelt.local.realtime.changes import Changes
from smelt.local.realtime.commits import Commits
from smelt.local.realtime.frames import LoggedChange
from smelt.local.realtime.hub import Hub
from smelt.local.realtime.messages import live_broadcast
from smelt.local.realtime.pgoutput import Begin, Change, Commit, Ignored, Message, Relation

logger = logging.getLogger(__name__)

MAX_QUEUED_ROWS: Final = 10_000
MAX_QUEUED_CHARACTERS: Final = 32_000_000


class LogDispatcher:
    """Receives messages in the order of the WAL and publishes them in that order."""

    def __init__(self, hub: Hub, changes: Changes, commits: Commits) -> None:
        self._hub = hub
        self._changes = changes
        self._broadcasts = _PublishQueue(commits, self._broadcast)
        self._rows = _PublishQueue(commits, changes.publish)
        self._relations: dict[int, Relation] = {}
        self._transaction = Begin(0, 0, 0)

    def receive(self, message: Message) -> None:
        """Handle one message."""
        match message:
            case Begin():
                self._transaction = message
            case Relation():
                self._relations[message.oid] = message
            case Change():
                self._queue(message)
            case Commit() | Ignored():
                pass

    async def wait_for_room(self) -> None:
        """Wait until the queues have room."""
        await self._broadcasts.room.wait()
        await self._rows.room.wait()

    async def run(self) -> None:
        """Publish until cancelled."""
        await asyncio.gather(self._broadcasts.run(), self._rows.run())

    def _queue(self, message: Change) -> None:
        relation, begin = self._relations[message.relation_oid], self._transaction
        change = LoggedChange(message.action, relation, message.new, message.old, begin.committed_us, begin.xid)
        if relation.schema == "realtime" and relation.name == "messages":
            self._broadcasts.put(change)
        elif self._changes.is_subscribed(change):
            self._rows.put(change)

    async def _broadcast(self, change: LoggedChange) -> None:
        live = live_broadcast(change.record)
        if live is not None:
            key, message_id, message = live
            self._hub.send(key, message, message_id=message_id)


class _PublishQueue:
    """A queue of rows that are published in order, after their commits; `room` is set unless it is full."""

    def __init__(self, commits: Commits, publish: Callable[[LoggedChange], Awaitable[None]]) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self._commits = commits
        self._publish = publish
        self._waiting: asyncio.Queue[LoggedChange] = asyncio.Queue()
        self._characters = 0

    def put(self, change: LoggedChange) -> None:
        self._waiting.put_nowait(change)
        self._characters += change.characters
        if self._waiting.qsize() >= MAX_QUEUED_ROWS or self._characters >= MAX_QUEUED_CHARACTERS:
            self.room.clear()

    async def run(self) -> None:
        while True:
            change = await self._waiting.get()
            try:
                await self._commits.visible(change.xid)
                await self._publish(change)
            except Exception:
                # A row that cannot be published must not block the next ones.
                logger.exception("failed to publish a row of %s.%s", change.relation.schema, change.relation.name)
            self._characters -= change.characters
            if self._waiting.empty():
                self.room.set()
