"""Somebody who takes whatever comes, as it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def collect(source: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    """All that came so far, in a list that grows as long as the context lasts; it ends before its source does."""
    told: list[T] = []

    async def take() -> None:
        async for one in source:
            told.append(one)  # noqa: PERF401 - it is looked at meanwhile.

    task = asyncio.create_task(take())
    try:
        yield told
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.wait([task])
