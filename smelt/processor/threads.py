"""Iterates over blocking iterators in threads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def iterate(blocking: Iterator[T], executor: Executor) -> AsyncIterator[T]:
    """Yield the items of a blocking iterator, each computed in a thread of `executor`.

    A cancelled consumer returns at once; the thread completes its current item and computes no further one.
    """
    loop = asyncio.get_running_loop()
    # A tuple of one item or none: None may be an item, and a future can't raise StopIteration.
    while items := await loop.run_in_executor(executor, _next, blocking):
        yield items[0]


def _next(blocking: Iterator[T]) -> tuple[T, ...]:
    for item in blocking:
        return (item,)
    return ()
