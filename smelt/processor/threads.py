"""Blocking work in threads, seen from the event loop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def iterate(blocking: Iterator[T], executor: Executor) -> AsyncIterator[T]:
    """Take one item after the other in a thread of `executor`.

    A consumer that is cancelled leaves at once; the thread ends with the item that it is at, and takes no further one.
    """
    loop = asyncio.get_running_loop()
    # A tuple of none or one: no value can be mistaken for the end, and StopIteration can't cross a future.
    while items := await loop.run_in_executor(executor, _next, blocking):
        yield items[0]


def _next(blocking: Iterator[T]) -> tuple[T, ...]:
    for item in blocking:
        return (item,)
    return ()
