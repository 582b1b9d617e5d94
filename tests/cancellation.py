"""Cancelling a task wherever it waits."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from itertools import count
from typing import Any, Final

MAX_AWAITS: Final = 500


class CancelledAtAwait:
    """A coroutine that is cancelled as it waits for the n-th time; if `stubborn`, whenever it waits from then on."""

    def __init__(self, work: Coroutine[Any, Any, object], at: int, *, repeatedly: bool) -> None:
        self.waits = 0
        self._work = work
        self._at = at
        self._stubborn = repeatedly

    @types.coroutine
    def run(self) -> Generator[Any, Any, object]:
        """Run it in the task that calls, step by step."""
        send, value = self._work.send, None
        while True:
            try:
                awaited = send(value)
            except StopIteration as done:
                return done.value
            self.waits += 1
            if self.waits == self._at or (self._stubborn and self.waits > self._at):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                send, value = self._work.send, (yield awaited)
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is for the coroutine.
                send, value = self._work.throw, exc


async def cancel_at_every_await(
    start: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[], Awaitable[object]],
    *,
    repeatedly: bool = False,
) -> int:
    """Run the same work again and again, cancelled at its first wait, its second, and so on until it ends by itself.

    After each run `check` has to hold. Answers how many places there were to cancel it.
    """
    for at in count(1):
        interrupted = CancelledAtAwait(start(), at, repeatedly=repeatedly)
        task = asyncio.create_task(_run(interrupted))
        await asyncio.wait([task])
        await check()
        if interrupted.waits < at:
            await task
            return at - 1
        assert at < MAX_AWAITS, "it never ends by itself"
    raise AssertionError("counting never ends")


async def _run(interrupted: CancelledAtAwait) -> object:
    return await interrupted.run()
