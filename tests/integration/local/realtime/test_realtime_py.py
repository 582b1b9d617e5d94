"""The official Python client with the embedded server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from realtime import AsyncRealtimeClient, RealtimeSubscribeStates
from realtime.types import RealtimePostgresChangesListenEvent

from tests.integration.local.realtime.realtime_server import USER_A, RealtimeServer

POLICIES = """
create policy own on realtime.messages for select to authenticated
    using (realtime.topic() = 'room:' || auth.uid());
create policy say on realtime.messages for insert to authenticated
    with check (realtime.topic() = 'room:' || auth.uid());
"""


@pytest_asyncio.fixture
async def client(realtime: RealtimeServer) -> AsyncIterator[AsyncRealtimeClient]:
    client = AsyncRealtimeClient(f"{realtime.http_url}/realtime/v1", realtime.keys.anon_key, auto_reconnect=False)
    await client.connect()
    yield client
    await client.close()


async def subscribe(channel: Any) -> str:
    """Subscribe and return the reached state."""
    reached: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_state(state: RealtimeSubscribeStates, error: Exception | None) -> None:
        if not reached.done():
            reached.set_result(state.value)

    await channel.subscribe(on_state)
    return await asyncio.wait_for(reached, 10)


async def test_broadcast_is_received_by_realtime_py(client: AsyncRealtimeClient, realtime: RealtimeServer) -> None:
    received: asyncio.Queue[Any] = asyncio.Queue()
    listening = client.channel(
        "room", {"config": {"broadcast": {"self": True, "ack": True}, "presence": None, "private": False}}
    )
    listening.on_broadcast("shout", received.put_nowait)
    assert await subscribe(listening) == "SUBSCRIBED"
    await listening.send_broadcast("shout", {"n": 1})
    assert (await asyncio.wait_for(received.get(), 10))["payload"] == {"n": 1}


async def test_postgres_changes_are_received_by_realtime_py(
    client: AsyncRealtimeClient, realtime: RealtimeServer
) -> None:
    received: asyncio.Queue[Any] = asyncio.Queue()
    channel = client.channel("changes")
    channel.on_postgres_changes(
        RealtimePostgresChangesListenEvent.All, received.put_nowait, table="notes", schema="public"
    )
    subscribed = asyncio.Event()
    channel.on_system(lambda payload: subscribed.set())
    assert await subscribe(channel) == "SUBSCRIBED"
    await asyncio.wait_for(subscribed.wait(), 10)
    await realtime.sql("insert into notes (id, body) values (1, 'x'); update notes set body = 'y'; delete from notes")
    types = [(await asyncio.wait_for(received.get(), 10))["data"]["type"] for _ in range(3)]
    assert types == ["INSERT", "UPDATE", "DELETE"]


async def test_private_channel_of_another_user_is_denied_to_realtime_py(
    client: AsyncRealtimeClient, realtime: RealtimeServer
) -> None:
    await realtime.sql(POLICIES)
    await client.set_auth(realtime.token(USER_A))
    received: asyncio.Queue[Any] = asyncio.Queue()
    private: Any = {"config": {"broadcast": {"self": False, "ack": False}, "presence": None, "private": True}}
    own = client.channel(f"room:{USER_A}", private)
    own.on_broadcast("event", received.put_nowait)
    assert await subscribe(own) == "SUBSCRIBED"
    await realtime.sql(f"select realtime.send('{{\"n\": 1}}', 'event', 'room:{USER_A}')")
    assert (await asyncio.wait_for(received.get(), 10))["payload"]["n"] == 1
    assert await subscribe(client.channel("room:other", private)) == "CHANNEL_ERROR"


async def test_presence_join_is_received_by_realtime_py(client: AsyncRealtimeClient, realtime: RealtimeServer) -> None:
    joined: asyncio.Queue[Any] = asyncio.Queue()
    config: Any = {"config": {"broadcast": None, "presence": {"key": "me", "enabled": True}, "private": False}}
    channel = client.channel("here", config)
    channel.on_presence_join(lambda key, current, new: joined.put_nowait((key, new)))
    assert await subscribe(channel) == "SUBSCRIBED"
    await channel.track({"name": "alice"})
    key, new = await asyncio.wait_for(joined.get(), 10)
    assert (key, new[0]["name"]) == ("me", "alice")
