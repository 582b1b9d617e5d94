"""The common part of feeds, notifications and batch watches: what a read finds and live events add, as an iterator."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from smelt.backend.realtime import LiveEvent, RealtimeConnection
from smelt.errors import PermanentError, SmeltError
from smelt.subscriber.freshness import LIVE_POLL_S
from smelt.subscriber.inbox import Inbox
from smelt.subscriber.reconciler import Reconciler

T = TypeVar("T")


class LiveIterator(ABC, Generic[T]):
    """An async context manager and async iterator, kept up to date by a `Reconciler` between enter and exit.

    The iteration returns the items of `pop`, and waits while it returns None.
    """

    def __init__(
        self,
        name: str,
        realtime: RealtimeConnection,
        pop: Callable[[], T | None],
        *,
        polling: bool,
        live_read_s: float = LIVE_POLL_S,
    ) -> None:
        self._name = name
        self._realtime = realtime
        self._inbox: Inbox[T] = Inbox(pop)
        self._reconciler = Reconciler(self._read, self._merge, self._fail, polling=polling, live_read_s=live_read_s)

    @abstractmethod
    async def _join(self) -> None:
        """Start the reconciler with the topic and the changes of its channel."""

    @abstractmethod
    async def _read(self) -> None:
        """Read the rows and merge them."""

    @abstractmethod
    def _merge(self, event: LiveEvent) -> None:
        """Merge a live event."""

    async def __aenter__(self) -> Self:
        await self._join()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop; the iteration raises `PermanentError` after the remaining items."""
        self._fail(PermanentError(f"{self._name} closed"))
        await self._reconciler.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Wait for the next item and return it."""
        if not self._reconciler.has_started:
            raise PermanentError(f"{self._name} not open: enter it with `async with` first")
        return await self._inbox.take()

    def _fail(self, error: SmeltError) -> None:
        self._inbox.fail(error)
