"""Notifications of the signed-in user: the unread ones, then new ones."""

import logging
from collections import deque
from datetime import timedelta
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.backend.realtime import Broadcast, LiveEvent
from smelt.backend.rpc import parse
from smelt.contract.channels import notifications_channel
from smelt.contract.events import error_summary
from smelt.contract.rows import Notification
from smelt.subscriber.live_iterator import LiveIterator

logger = logging.getLogger(__name__)

EVENT: Final = "new_notification"
# `created_at` is the start of the transaction; one that started earlier may commit later.
OVERLAP: Final = timedelta(minutes=5)


class Notifications(LiveIterator[Notification]):
    """The notifications of the signed-in user: an async context manager, and an async iterator.

    Yields all unread notifications, oldest first, then new ones, each once. Those that arrive while the connection is
    lost are included, unless they are marked as read meanwhile. The iteration does not end by itself; it raises
    `Unauthorized` if the user may not, or no longer, read.
    """

    def __init__(self, project: Project, *, polling: bool) -> None:
        self._waiting: deque[Notification] = deque()
        super().__init__("notifications", project.realtime, self._pop, polling=polling)
        self._project = project
        self._calls = ClientRpc(project.rpc)
        self._enqueued_ids: set[UUID] = set()
        self._before_first_read: list[Notification] = []
        self._newest: Notification | None = None
        self._has_read = False
        self._user_id: UUID | None = None

    async def close(self) -> None:
        """Stop; the iteration raises `PermanentError`."""
        self._waiting.clear()
        await super().close()

    async def mark_seen(self, *ids: UUID | str) -> int:
        """Mark notifications as seen (shown in a list); return how many were unseen."""
        return await self._calls.mark_notifications("seen_at", [UUID(str(one)) for one in ids])

    async def mark_read(self, *ids: UUID | str) -> int:
        """Mark notifications as read (opened); return how many were unread."""
        return await self._calls.mark_notifications("read_at", [UUID(str(one)) for one in ids])

    async def _join(self) -> None:
        self._user_id = await self._project.user_id()
        await self._reconciler.start(self._realtime, notifications_channel(str(self._user_id)))

    def _pop(self) -> Notification | None:
        return self._waiting.popleft() if self._waiting else None

    async def _read(self) -> None:
        filters = [("user_id", "eq", str(self._user_id)), ("read_at", "is", "null")]
        if self._newest is not None:
            filters.append(("created_at", "gte", (self._newest.created_at - OVERLAP).isoformat()))
        rows = await self._project.rpc.rows("smelt_notifications", *filters)
        self._has_read = True
        read = sorted((parse(Notification, row) for row in rows), key=lambda one: (one.created_at, one.id))
        before_first_read, self._before_first_read = self._before_first_read, []
        self._enqueue(*read, *before_first_read)

    def _merge(self, event: LiveEvent) -> None:
        if not isinstance(event, Broadcast) or event.event != EVENT:
            return
        try:
            notification = Notification.model_validate(event.payload)
        except ValidationError as exc:
            logger.warning("a malformed notification: %s", error_summary(exc))
            return
        if self._has_read:
            self._enqueue(notification)
        else:  # The unread notifications come first.
            self._before_first_read.append(notification)

    def _enqueue(self, *notifications: Notification) -> None:
        for notification in notifications:
            if notification.id in self._enqueued_ids:
                continue
            self._enqueued_ids.add(notification.id)
            self._waiting.append(notification)
            if self._newest is None or notification.created_at > self._newest.created_at:
                self._newest = notification
            self._inbox.wake()
