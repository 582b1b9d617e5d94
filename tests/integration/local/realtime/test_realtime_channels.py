"""Channels beyond the recordings: keys, tokens, replay, presence, limits and visibility of commits."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import httpx
import psycopg
import pytest
import websockets

from smelt.local.database.postgres import Postgres
from tests.harness.waiting import until
from tests.integration.local.realtime.realtime_server import USER_A, USER_B, RealtimeServer, serving
from tests.integration.local.realtime.sockets import raw_socket

POLICIES = """
create policy all_sel on realtime.messages for select to authenticated using (true);
create policy all_ins on realtime.messages for insert to authenticated with check (true);
"""


async def test_socket_accepts_every_kind_of_api_key(realtime: RealtimeServer) -> None:
    keys = realtime.keys
    for key in (keys.anon_key, keys.service_role_key, keys.publishable_key, keys.secret_key):
        async with raw_socket(realtime, key) as socket:
            assert (await socket.join("room"))["status"] == "ok"


async def test_private_channel_join_is_allowed_with_the_secret_key(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime, realtime.keys.secret_key) as secret:
        assert (await secret.join("p", private=True))["status"] == "ok"
    async with raw_socket(realtime, realtime.keys.publishable_key) as public:
        assert (await public.join("p", private=True))["status"] == "error"


@pytest.mark.parametrize("header", ["apikey", "Authorization"])
async def test_broadcast_over_http_accepts_every_kind_of_api_key(realtime: RealtimeServer, header: str) -> None:
    keys, prefix = realtime.keys, "Bearer " if header == "Authorization" else ""
    body = {"messages": [{"topic": "t", "event": "e", "payload": {}}]}
    async with httpx.AsyncClient(base_url=realtime.http_url) as client:
        for key in (keys.anon_key, keys.service_role_key, *(() if prefix else (keys.publishable_key, keys.secret_key))):
            response = await client.post("/realtime/v1/api/broadcast", json=body, headers={header: prefix + key})
            assert response.status_code == 202


async def test_http_responses_match_the_platform(realtime: RealtimeServer) -> None:
    async with httpx.AsyncClient(base_url=f"{realtime.http_url}/realtime/v1") as client:
        assert (await client.get("/api/ping")).json() == {"message": "Success"}
        plain = await client.get("/websocket", params={"apikey": realtime.keys.anon_key})
        assert (plain.status_code, plain.text) == (400, "'connection' header must contain 'upgrade', got []")
        assert (await client.get("/nope")).status_code == 404


async def test_rls_policies_see_role_topic_claims_and_headers(realtime: RealtimeServer) -> None:
    """Role, topic, claims and headers are set; event and payload are not."""
    await realtime.sql("""
        create policy see on realtime.messages for select to authenticated using (
            realtime.topic() = 'club:7' and current_role = 'authenticated' and topic = 'club:7' and private = false
            and auth.uid() = 'aaaaaaaa-0000-4000-8000-000000000001' and (auth.jwt() ->> 'level')::int = 3
            and current_setting('request.jwt.claim.sub') = auth.uid()::text
            and current_setting('request.jwt.claim.role') = 'authenticated'
            and current_setting('request.headers')::json ->> 'x-tag' = 'tagged'
            and current_setting('request.headers')::json ->> 'host' is null
            and event is null and payload is null and extension in ('broadcast', 'presence')
        )
    """)
    url = f"{realtime.socket_url}?apikey={realtime.keys.anon_key}"
    for tag, level, status in (("tagged", 3, "ok"), ("tagged", 2, "error"), ("other", 3, "error")):
        async with websockets.connect(url, additional_headers={"X-Tag": tag}) as socket:
            payload = {"config": {"private": True}, "access_token": realtime.token(USER_A, level=level)}
            await socket.send(
                json.dumps({"topic": "realtime:club:7", "event": "phx_join", "payload": payload, "ref": "1"})
            )
            assert json.loads(await socket.recv())["payload"]["status"] == status


async def test_rls_select_without_insert_allows_join_but_not_broadcast(realtime: RealtimeServer) -> None:
    await realtime.sql("create policy see on realtime.messages for select to authenticated using (true)")
    async with raw_socket(realtime) as reader, raw_socket(realtime) as other:
        for socket, user in ((reader, USER_A), (other, USER_B)):
            config = {"private": True, "broadcast": {"ack": True}}
            assert (await socket.join("p", token=realtime.token(user), **config))["status"] == "ok"
        await reader.broadcast("p", "e", {})
        assert await reader.rest() == await other.rest() == []


async def test_presence_can_be_denied_where_broadcast_is_allowed(realtime: RealtimeServer) -> None:
    await realtime.sql("""
        create policy see on realtime.messages for select to authenticated using (extension = 'broadcast');
        create policy say on realtime.messages for insert to authenticated with check (extension = 'broadcast');
    """)
    async with raw_socket(realtime) as socket:
        await socket.join("p", token=realtime.token(USER_A), private=True, presence={"key": "k", "enabled": True})
        ref = await socket.send("realtime:p", "presence", {"type": "presence", "event": "track", "payload": {}})
        assert (await socket.next("phx_reply", ref=ref))["payload"] == {"status": "error", "response": {}}
        assert await socket.rest() == []


async def test_presence_state_is_sent_to_a_new_member(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as first, raw_socket(realtime) as second:
        await first.join("p", presence={"key": "one", "enabled": True})
        await first.send("realtime:p", "presence", {"type": "presence", "event": "track", "payload": {"n": 1}})
        await first.next("presence_diff")
        await second.join("p", presence={"key": "two", "enabled": True})
        state = (await second.next("presence_state"))["payload"]
        assert state["one"]["metas"][0]["n"] == 1
        await first.socket.close()
        assert list((await second.next("presence_diff"))["payload"]["leaves"]) == ["one"]


async def test_presence_track_without_a_change_sends_no_diff(realtime: RealtimeServer) -> None:
    async def track(meta: dict[str, int]) -> list[str]:
        await socket.send("realtime:p", "presence", {"type": "presence", "event": "track", "payload": meta})
        return [frame["event"] for frame in await socket.rest()]

    async with raw_socket(realtime) as socket:
        await socket.join("p", presence={"key": "one", "enabled": True})
        await socket.rest()
        assert await track({"a": 1, "b": 2}) == ["phx_reply", "presence_diff"]
        assert await track({"b": 2, "a": 1}) == ["phx_reply"]
        await socket.send("realtime:p", "presence", {"type": "presence", "event": "untrack"})
        await socket.rest()
        assert await track({"a": 1, "b": 2}) == ["phx_reply", "presence_diff"]


async def test_presence_over_the_size_limit_closes_the_channel(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.join("p", presence={"key": "one", "enabled": True})
        meta = {"x": "x" * 3_000_000}
        await socket.send("realtime:p", "presence", {"type": "presence", "event": "track", "payload": meta})
        assert (await socket.next("system"))["payload"]["message"] == "Track message size exceeded"
        await socket.next("phx_close")


async def test_broadcast_from_the_database_is_sent_after_the_commit(realtime: RealtimeServer) -> None:
    """A client that reads the row on receiving the broadcast finds it committed."""
    async with (
        raw_socket(realtime) as socket,
        await psycopg.AsyncConnection.connect(realtime.dsn, autocommit=True) as connection,
    ):
        await socket.join("db")
        for number in range(50):
            await realtime.sql(f"""
                begin;
                insert into notes (id, body) values ({number}, 'x');
                select realtime.send('{{"n": {number}}}', 'e', 'db', false);
                commit
            """)
            number = (await socket.next("broadcast"))["payload"]["payload"]["n"]
            found = await (await connection.execute("select from public.notes where id = %s", (number,))).fetchall()
            assert len(found) == 1


async def test_broadcast_replay_and_concurrent_sends_arrive_once(realtime: RealtimeServer) -> None:
    await realtime.sql(POLICIES + "delete from realtime.messages")
    since = int(time.time() * 1000) - 60_000

    async def send(count: int) -> None:
        for number in range(count):
            await realtime.sql(f"select realtime.send('{{\"n\": {number}}}', 'e', 'p')")

    async with raw_socket(realtime) as socket:
        sending = asyncio.create_task(send(20))
        await asyncio.sleep(0)
        replay = {"broadcast": {"replay": {"since": since, "limit": 25}}}
        assert (await socket.join("p", token=realtime.token(USER_A), private=True, **replay))["status"] == "ok"
        await sending
        numbers = [(await socket.next("broadcast"))["payload"]["payload"]["n"] for _ in range(20)]
        assert numbers == list(range(20))
        assert await socket.rest() == []


async def test_socket_abort_releases_channels_presence_changes_and_tasks(realtime: RealtimeServer) -> None:
    """No channel, presence, subscription or task is left, however the socket ends."""
    tasks, witness_alone = len(asyncio.all_tasks()), (1, 1, 0)
    bindings = [{"event": "*", "schema": "public", "table": "notes"}]
    for _ in range(5):
        async with raw_socket(realtime) as socket:
            await socket.join("a", presence={"key": "k", "enabled": True}, postgres_changes=bindings)
            await socket.send("realtime:a", "presence", {"type": "presence", "event": "track", "payload": {}})
            await socket.next("presence_diff")
            await socket.send("realtime:p", "phx_join", {"config": {"private": True}})  # The reply takes a while.
            socket.socket.transport.abort()

    async def clean() -> bool:
        hub, changes = realtime.realtime.hub, realtime.realtime.changes
        return (hub.member_count, changes.subscriber_count, hub.present_topics) == witness_alone

    await until(clean)

    async def no_tasks() -> bool:
        return len(asyncio.all_tasks()) <= tasks + 1

    await until(no_tasks)


async def test_connection_pool_gets_a_connection_back_from_a_cancelled_task(realtime: RealtimeServer) -> None:
    pool, lending, enough = realtime.realtime._service, asyncio.Event(), asyncio.Event()

    async def borrow() -> None:
        async with pool.connection():
            lending.set()
            await enough.wait()

    borrower = asyncio.create_task(borrow())
    await lending.wait()
    async with pool._lock:  # Returning the connection waits for this lock.
        enough.set()
        for _ in range(10):
            await asyncio.sleep(0)
        borrower.cancel()
        await asyncio.wait((borrower,))

    async def is_back() -> bool:
        return realtime.realtime.borrowed_connections == 0

    await until(is_back)


async def test_malformed_frames_do_not_affect_the_channel(realtime: RealtimeServer) -> None:
    deep = '{"topic":"realtime:room","event":"broadcast","ref":"1","payload":' + "[" * 50_000 + "]" * 50_000 + "}"
    async with raw_socket(realtime) as socket:
        await socket.join("room", broadcast={"ack": True})
        for frame in ("{bad", "[]", deep, b"\x00\x01\x02", b"", "\x00", '{"topic":"realtime:room","event":"\\ud800"}'):
            await socket.socket.send(frame)
        ref = await socket.broadcast("room", "e", {})
        assert (await socket.next("phx_reply", ref=ref))["payload"]["status"] == "ok"


@pytest.mark.parametrize(("event", "payload"), [("broadcast", None), ("broadcast", ["e"]), ("presence", {"event": 5})])
async def test_unexpected_payload_ends_only_the_senders_channel(
    realtime: RealtimeServer, event: str, payload: Any
) -> None:
    """The sender can rejoin; other sockets are not affected."""
    async with raw_socket(realtime) as socket, raw_socket(realtime) as other:
        for member in (socket, other):
            await member.join("room", broadcast={"ack": True})
        await socket.send("realtime:room", event, payload)
        assert (await socket.next("phx_error"))["payload"] == {}
        ref = await socket.broadcast("room", "e", {})
        assert (await socket.next("phx_reply", ref=ref))["payload"]["response"] == {"reason": "unmatched topic"}
        assert await other.rest() == []


async def test_rate_limit_applies_to_both_http_broadcast_routes(realtime_postgres: Postgres) -> None:
    async with serving(realtime_postgres, max_events_per_s=1, event_tick_s=1.0) as realtime:
        body = {"messages": [{"topic": "rate", "event": "e", "payload": {}}]}
        headers = {"apikey": realtime.keys.anon_key}
        async with httpx.AsyncClient(base_url=f"{realtime.http_url}/realtime/v1/api", headers=headers) as client:
            while (response := await client.post("/broadcast/rate/events/e", json={})).status_code == 202:
                pass
            assert response.headers["x-rate-limit"] == "1"
            for path, content in (("/broadcast/rate/events/e", {}), ("/broadcast", body)):
                response = await client.post(path, json=content)
                assert response.status_code == 429
                assert response.json() == {"message": "You have exceeded your rate limit"}


async def test_rate_limit_of_joins_closes_the_socket(realtime_postgres: Postgres) -> None:
    async with serving(realtime_postgres, max_joins_per_s=1, event_tick_s=1.0) as realtime, raw_socket(realtime) as it:
        with suppress(websockets.ConnectionClosed):
            while True:
                await it.join("again")
        assert it.socket.close_code == 1012
        with pytest.raises(websockets.InvalidStatus) as error:
            await websockets.connect(f"{realtime.socket_url}?apikey={realtime.keys.anon_key}")
        assert error.value.response.status_code == 429
