"""Waiting of one consumer for the next item or a final error."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from smelt.errors import SmeltError

T = TypeVar("T")


class Inbox(Generic[T]):
    """Returns the items of `pop`, waiting while it returns None; a failure is raised after all remaining items."""

    def __init__(self, pop: Callable[[], T | None]) -> None:
        self._pop: Callable[[], T | None] = pop
        self._changed = asyncio.Event()
        self._error: SmeltError | None = None

    def wake(self) -> None:
        """Wake the consumer: `pop` may return an item."""
        self._changed.set()

    def fail(self, error: SmeltError) -> None:
        """Set the final error; later ones are ignored."""
        self._error = self._error or error
        self._changed.set()

    async def take(self) -> T:
        """Wait for the next item and return it; raise the final error if there is none left."""
        while True:
            if (item := self._pop()) is not None:
                return item
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
