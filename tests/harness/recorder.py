"""A recorder of everything that an app receives: updates, batches, notifications and the rows of a feed."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from uuid import UUID

from smelt.contract.rows import FileRow, Notification, SmeltRow
from smelt.subscriber.client import Client
from smelt.subscriber.updates import BatchProgress, Update


class Recorder:
    """Records updates, and keeps a copy of the rows from the changes of a feed alone.

    `delay` returns the seconds that the processing of each update takes.
    """

    def __init__(self, delay: Callable[[], float] = lambda: 0) -> None:
        self.updates: dict[UUID, list[Update]] = {}
        self.batch: list[BatchProgress] = []
        self.notifications: list[Notification] = []
        self.rows: dict[UUID, SmeltRow | FileRow] = {}
        self._delay = delay

    async def watch(self, client: Client, smelt_id: UUID) -> None:
        """Watch a smelt to its end."""
        recorded = self.updates[smelt_id] = []
        pause_s = self._delay()
        async with aclosing(client.watch(smelt_id)) as updates:
            async for update in updates:
                recorded.append(update)
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
        """Record the notifications of the user, until cancelled."""
        async with client.notifications() as notifications:
            async for notification in notifications:
                assert notification.id not in {one.id for one in self.notifications}
                self.notifications.append(notification)
