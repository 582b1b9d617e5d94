"""Work in the background of a block ends with it, and ends it by an error."""

import asyncio

import pytest

from tests.harness.background import in_background


async def test_background_work_is_cancelled_at_the_end_of_the_block() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with in_background(work(), work()):
        await asyncio.sleep(0)
        assert not ended
    assert ended == [True, True]


async def test_background_error_ends_the_block() -> None:
    async def work() -> None:
        raise ValueError("the work failed")

    with pytest.raises(ExceptionGroup) as raised:
        async with in_background(work()):
            await asyncio.Event().wait()
    assert raised.group_contains(ValueError, match="the work failed")
