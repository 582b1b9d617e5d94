"""The feeds and notifications that the users of a run follow, beside the watchers of single smelts."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from tests.chaos.clients import Owner
from tests.harness.recorder import Recorder
from tests.harness.scripted_worker import ScriptedWorker

SETTLE_TIMEOUT_S: Final = 120.0
"""Below the 300 s after which a feed reads all rows again, which would hide a lost change."""
POLL_S: Final = 0.5


class Feeds:
    """A recorder for each user."""

    def __init__(self) -> None:
        self._recorders: dict[UUID, Recorder] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, owner: Owner) -> None:
        """Follow the rows and the notifications of a user."""
        assert owner.user is not None
        recorder = self._recorders[UUID(owner.user.id)] = Recorder()
        for following in (recorder.record_rows(owner.client), recorder.record_notifications(owner.client)):
            self._tasks.append(asyncio.create_task(following))

    async def check(self, worker: ScriptedWorker) -> None:
        """Assert that all rows of the database arrive, and each notification once."""
        for user_id, recorder in self._recorders.items():
            rows, notifications = await worker.rows_of_user(user_id)
            deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
            while lacking := [
                *(row for key, row in rows.items() if recorder.rows.get(key) != row),
                *(one for one in notifications if one.id not in {known.id for known in recorder.notifications}),
            ]:
                self._raise_errors()
                assert time.monotonic() < deadline_s, [(row, recorder.rows.get(row.id)) for row in lacking]
                await asyncio.sleep(POLL_S)
            assert recorder.rows.keys() == rows.keys()
        self._raise_errors()

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _raise_errors(self) -> None:
        """Raise the error of a feed that has ended."""
        for task in self._tasks:
            assert not task.done() or task.result()


@asynccontextmanager
async def recorded_feeds(owners: Sequence[Owner]) -> AsyncIterator[Feeds]:
    """Follow the feeds of all users."""
    feeds = Feeds()
    for owner in owners:
        if owner.user is not None:
            feeds.start(owner)
    try:
        yield feeds
    finally:
        await feeds.stop()
