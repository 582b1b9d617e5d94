"""The stream of the notifications of a user: the unread ones, then new ones."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from smelt.backend.rpc import parse
from smelt.contract.rows import Notification
from smelt.errors import TransientError
from smelt.gateway.callers import Caller
from smelt.gateway.streams import frames
from smelt.gateway.streams.hub import Hub, Source
from smelt.gateway.streams.stream import READ_RETRY_S, UserStream
from smelt.subscriber.client import Client


class Arrival:
    """A notification that arrived; None for the place before the first one."""

    __slots__ = ("next", "notification")

    def __init__(self, notification: Notification | None = None) -> None:
        self.notification = notification
        self.next: Arrival | None = None


class NotificationsSource(Source):
    """The notifications of a user as they arrive, for all of their readers."""

    def __init__(self) -> None:
        super().__init__()
        self.last = Arrival()

    async def follow(self, client: Client) -> None:
        """Append each notification."""
        async with client.notifications() as notifications:
            async for one in notifications:
                self.last.next = Arrival(one)
                self.last = self.last.next
                self.wake()


class NotificationsStream(UserStream):
    """The notifications of a user for one reader."""

    def __init__(self, hub: Hub, caller: Caller) -> None:
        super().__init__(hub, caller)
        self._sent_ids: set[UUID] = set()

    def opening(self) -> bytes:
        """Return the event `connected`."""
        return frames.connected({})

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield all unread notifications, oldest first, then new ones."""
        while True:
            with self.hub.joined(self.caller, "notifications", self.changed, NotificationsSource) as source:
                place = source.last
                async with aclosing(self._unread_frames()) as unread:
                    async for frame in unread:
                        yield frame
                while not source.is_closed:
                    if place.next is None:
                        yield None
                    else:
                        place = place.next
                        if place.notification is not None and (new := self._frame(place.notification)):
                            yield new
            async with aclosing(self.rejoin()) as waiting:
                async for _ in waiting:
                    yield None

    async def _unread_frames(self) -> AsyncGenerator[bytes | None, None]:
        delay_s = 0.0
        while True:
            with self.timer(delay_s) as is_over:
                while not is_over():
                    yield None
            try:
                unread = await self._unread()
                break
            except TransientError:
                delay_s = READ_RETRY_S
        for one in unread:
            if frame := self._frame(one):
                yield frame

    async def _unread(self) -> list[Notification]:
        mine = (("user_id", "eq", self.caller.identity), ("read_at", "is", "null"))
        rows = await self.caller.calls.rpc.rows("smelt_notifications", *mine)
        return sorted((parse(Notification, row) for row in rows), key=lambda one: (one.created_at, one.id))

    def _frame(self, notification: Notification) -> bytes | None:
        if notification.id in self._sent_ids:
            return None
        self._sent_ids.add(notification.id)
        return frames.event("new_notification", notification.model_dump_json())
