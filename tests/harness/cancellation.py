"""Cancellation of a task at each of its awaits."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from itertools import count
from typing import Any, Final

MAX_AWAITS: Final = 500


class CancelledAtAwait:
    """A coroutine that is cancelled at its n-th await; with `repeatedly` also at each one after it."""

    def __init__(self, work: Coroutine[Any, Any, object], at: int, *, repeatedly: bool) -> None:
        self.waits = 0
        self._work = work
        self._at = at
        self._repeatedly = repeatedly

    @types.coroutine
    def run(self) -> Generator[Any, Any, object]:
        """Run the coroutine step by step in the current task."""
        send, value = self._work.send, None
        while True:
            try:
                awaited = send(value)
            except StopIteration as done:
                return done.value
            self.waits += 1
            if self.waits == self._at or (self._repeatedly and self.waits > self._at):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                send, value = self._work.send, (yield awaited)
            except BaseException as exc:  # noqa: BLE001 - Every exception belongs to the coroutine.
                send, value = self._work.throw, exc


async def cancel_at_every_await(
    start: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[], Awaitable[object]],
    *,
    repeatedly: bool = False,
) -> int:
    """Run the same work repeatedly, cancelled at its first await, its second, and so on until it ends uncancelled.

    After each run `check` must pass. Returns the number of awaits at which the work was cancelled.
    """
    for at in count(1):
        interrupted = CancelledAtAwait(start(), at, repeatedly=repeatedly)
        task = asyncio.create_task(_run(interrupted))
        await asyncio.wait([task])
        await check()
        if interrupted.waits < at:
            await task
            return at - 1
        assert at < MAX_AWAITS, "the work never ends uncancelled"
    raise AssertionError("unreachable")


async def _run(interrupted: CancelledAtAwait) -> object:
    return await interrupted.run()
