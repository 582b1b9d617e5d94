"""Misuse of a client raises an error of smelt at once."""

import asyncio

import pytest

import smelt
from smelt.errors import PermanentError

UNREACHABLE_URL = "http://127.0.0.1:9"
ID = "11111111-2222-4333-8444-555555555555"


async def test_closed_client_rejects_calls() -> None:
    client = smelt.connect(UNREACHABLE_URL, "key")
    await client.aclose()
    with pytest.raises(PermanentError, match="closed"):
        await client.get(ID)
    with pytest.raises(PermanentError, match="closed"):
        await client.wait(ID)


def test_client_of_another_event_loop_rejects_calls() -> None:
    client = smelt.connect(UNREACHABLE_URL, "key")

    async def begin() -> None:
        watching = client.watch(ID)
        started = asyncio.create_task(anext(watching))
        await asyncio.sleep(0)
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)
        await watching.aclose()

    asyncio.run(begin())
    with pytest.raises(PermanentError, match="another event loop"):
        asyncio.run(client.wait(ID))
    with pytest.raises(PermanentError, match="another event loop"):
        asyncio.run(client.get(ID))


@pytest.mark.parametrize("one", [{"files": "meeting.m4a"}, {"text": "a note", "prompts": "summarize"}])
async def test_create_rejects_a_string_instead_of_a_list(one: dict[str, str]) -> None:
    async with smelt.connect(UNREACHABLE_URL, "key") as client:
        with pytest.raises(TypeError, match="lists"):
            await client.create(**one)  # type: ignore[arg-type]
