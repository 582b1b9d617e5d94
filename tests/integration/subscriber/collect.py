"""Collection of the items of an asynchronous iterator in a list."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def collect(source: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    """Yield a list to which the items of `source` are appended; `source` must not end before the context does."""
    items: list[T] = []

    async def take() -> None:
        async for one in source:
            items.append(one)  # noqa: PERF401 - The list is read meanwhile.

    task = asyncio.create_task(take())
    try:
        yield items
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.wait([task])
