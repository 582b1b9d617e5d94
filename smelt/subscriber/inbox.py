"""Where a consumer waits for what comes next."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from smelt.errors import SmeltError

T = TypeVar("T")


class Inbox(Generic[T]):
    """Hands out what `pop` answers, and waits while that is None; an error comes after all that was there before it."""

    def __init__(self, pop: Callable[[], T | None]) -> None:
        self._pop: Callable[[], T | None] = pop
        self._changed = asyncio.Event()
        self._error: SmeltError | None = None

    def wake(self) -> None:
        """There is something to pop."""
        self._changed.set()

    def fail(self, error: SmeltError) -> None:
        """Nothing will come any more; the first reason counts."""
        self._error = self._error or error
        self._changed.set()

    async def take(self) -> T:
        """The next one; waits for it."""
        while True:
            if (item := self._pop()) is not None:
                return item
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
