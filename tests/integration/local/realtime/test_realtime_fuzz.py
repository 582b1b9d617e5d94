"""Fuzzed input from one client does not affect the others."""

import json
import logging
from contextlib import suppress
from typing import Any

import httpx
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.local.realtime.realtime_server import RealtimeServer
from tests.integration.local.realtime.sockets import raw_socket

words = st.sampled_from(
    ["realtime:room", "realtime:", "phoenix", "room", "phx_join", "phx_leave", "broadcast"]
) | st.text(max_size=5)
events = (
    st.sampled_from(["phx_join", "phx_leave", "broadcast", "presence", "access_token", "heartbeat", "track"]) | words
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4))
bindings = st.fixed_dictionaries(
    {}, optional={"event": values, "schema": st.just("public") | values, "table": st.just("notes") | values,
                  "filter": st.sampled_from(["id=eq.1", "id=in.(1,2)", "body=like.%"]) | values, "select": values}
)  # fmt: skip
configs = st.fixed_dictionaries(
    {},
    optional={
        "broadcast": st.fixed_dictionaries({}, optional={"self": values, "ack": values, "replay": values}) | values,
        "presence": st.fixed_dictionaries({}, optional={"key": values, "enabled": values}) | values,
        "postgres_changes": st.lists(bindings, max_size=3) | values,
        "private": values,
    },
)
payloads = (
    st.fixed_dictionaries({"config": configs | values}, optional={"access_token": values, "event": events}) | values
)
frames = st.tuples(values, values, words, events, payloads).map(json.dumps)
fuzz = st.lists(frames | st.text() | st.binary(), min_size=1, max_size=12)
many = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(sent=fuzz)
async def test_fuzzed_frames_do_not_affect_other_sockets(
    realtime: RealtimeServer, caplog: pytest.LogCaptureFixture, sent: list[str | bytes]
) -> None:
    url = f"{realtime.socket_url}?apikey={realtime.keys.anon_key}&vsn=2.0.0"
    async with websockets.connect(url, ping_interval=None) as fuzzed, raw_socket(realtime) as other:
        for frame in sent:
            with suppress(UnicodeEncodeError):
                await fuzzed.send(frame)
        await other.join("room", broadcast={"self": True})
        await other.broadcast("room", "e", {"n": 1})
        while (await other.next("broadcast"))["payload"].get("payload") != {"n": 1}:
            pass
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


bodies = st.binary(max_size=50) | st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({}, optional={"topic": values, "event": values, "payload": values,
                                                              "private": values, "id": values})) | values}
).map(lambda value: json.dumps(value).encode())  # fmt: skip


@many
@given(body=bodies, content_type=st.sampled_from(["application/json", "text/plain", "application/octet-stream"]))
async def test_fuzzed_http_bodies_never_return_a_5xx(realtime: RealtimeServer, body: bytes, content_type: str) -> None:
    headers: dict[str, Any] = {"apikey": realtime.keys.anon_key, "content-type": content_type}
    async with httpx.AsyncClient(base_url=realtime.http_url, headers=headers) as client:
        for path in ("broadcast", "broadcast/room/events/e", "broadcast/room/events/e?private=true"):
            assert (await client.post(f"/realtime/v1/api/{path}", content=body)).status_code < 500
