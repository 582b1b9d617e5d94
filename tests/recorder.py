"""What those who follow something have been told, kept as an app would keep it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from uuid import UUID

from smelt.contract.rows import FileRow, Notification, SmeltRow
from smelt.subscriber.client import Client
from smelt.subscriber.updates import BatchProgress, Update


class Recorder:
    """Every update, and a copy of the rows that is kept by the changes of a feed alone.

    `pace` answers how many seconds each of them takes for what it is told.
    """

    def __init__(self, pace: Callable[[], float] = lambda: 0) -> None:
        self.updates: dict[UUID, list[Update]] = {}
        self.batch: list[BatchProgress] = []
        self.notifications: list[Notification] = []
        self.rows: dict[UUID, SmeltRow | FileRow] = {}
        self._delay = pace

    async def watch(self, client: Client, smelt_id: UUID) -> None:
        """Watch a smelt to its end."""
        told = self.updates[smelt_id] = []
        pause_s = self._delay()
        async with aclosing(client.watch(smelt_id)) as updates:
            async for update in updates:
                told.append(update)
                await asyncio.sleep(pause_s)

    async def watch_batch(self, client: Client, batch_id: UUID) -> None:
        """Watch a batch to its end."""
        async with aclosing(client.watch_batch(batch_id)) as states:
            async for state in states:
                self.batch.append(state)

    async def record_rows(self, client: Client) -> None:
        """Follow all rows of the user, until cancelled."""
        pause_s = self._delay()
        async with client.feed() as feed:
            async for change in feed:
                assert change.before == self.rows.get(change.row.id)
                assert (change.kind == "insert") == (change.row.id not in self.rows)
                if change.kind == "delete":
                    del self.rows[change.row.id]
                else:
                    self.rows[change.row.id] = change.row
                await asyncio.sleep(pause_s)

    async def record_notifications(self, client: Client) -> None:
        """Hear the notifications of the user, until cancelled."""
        async with client.notifications() as notifications:
            async for notification in notifications:
                assert notification.id not in {one.id for one in self.notifications}
                self.notifications.append(notification)
