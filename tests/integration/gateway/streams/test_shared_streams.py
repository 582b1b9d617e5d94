"""Many streams share one watch; a reader that is gone frees everything; a slow one gets the newest state."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import httpx
import pytest

from smelt.gateway import clients as clients_module
from smelt.gateway.server import GatewayServer, listen
from smelt.gateway.streams import stream as stream_module
from smelt.gateway.streams.hub import Hub
from tests.harness.gateways import options_for
from tests.harness.proxies import faulty_proxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.sse_readers import EventReader, Received, stream
from tests.harness.stacks import TLS, Stack, User, sign_up
from tests.harness.waiting import until

STREAMS = 50


@asynccontextmanager
async def serving(stack: Stack, **changes: object) -> AsyncIterator[GatewayServer]:
    """Run a gateway in the event loop of the test, in which its resources can be counted."""
    server = GatewayServer(options_for(stack, **changes), listen("127.0.0.1", 0))
    task = asyncio.create_task(server.run_until_stopped())
    await until(lambda: server.started)
    try:
        yield server
    finally:
        server.stop()
        await asyncio.wait_for(task, 30)


def hub_of(server: GatewayServer) -> Hub:
    hub: Hub = server._app.state.hub
    return hub


@asynccontextmanager
async def caller_of(server: GatewayServer, user: User) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=server.address,
        headers={"Authorization": f"Bearer {user.access_token}"},
        timeout=60,
        verify=TLS,
        limits=httpx.Limits(max_connections=None),
    ) as http:
        yield http


async def created(http: httpx.AsyncClient) -> str:
    return str((await http.post("/api/smelts", json={"text": "Ship it."})).raise_for_status().json()["id"])


async def test_fifty_streams_of_a_smelt_share_one_watch_and_get_each_event_once(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with serving(shared_stack, max_streams_per_caller=STREAMS) as server, caller_of(server, user) as http:
        smelt_id = await created(http)
        job = await scripted_worker.claim(UUID(smelt_id))
        async with AsyncExitStack() as opened:
            readers: list[EventReader] = []
            for _ in range(STREAMS):
                readers.append(await opened.enter_async_context(stream(http, f"/api/smelts/{smelt_id}/events")))
                assert (await readers[-1].next()).event == "connected"
                assert (await readers[-1].next()).event == "progress"
            hub = hub_of(server)
            assert (hub.source_count, server._app.state.streams.count, server._app.state.clients.count) == (
                1,
                STREAMS,
                1,
            )
            # The state may still be on its way through the shared watch.
            [shared] = server._app.state.clients._shared.values()
            await until(lambda: shared.client.diagnostics().connection.joined_count == 1)
            assert len(shared.client.diagnostics().watches) == 1
            for first in range(0, 6, 2):
                await job.report("transcribing", 30.0 + first, words=["one", "two"], first=first)
            await job.complete()

            async def receive(reader: EventReader) -> Received:
                received = Received()
                for event in await reader.rest():
                    received.add(event.event, event.id, event.data)
                return received

            for received in await asyncio.gather(*(receive(reader) for reader in readers)):
                assert [index for _, _, index, _ in received.segments] == list(range(6))
                assert received.ends == ["completed"]
        await until(lambda: hub.source_count == 0 and server._app.state.streams.count == 0)


async def test_readers_that_are_gone_free_watches_channels_tasks_and_clients(
    shared_stack: Stack, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients_module.Clients.__init__, "__kwdefaults__", {"idle_s": 0.2})
    async with serving(shared_stack) as server:
        async with caller_of(server, user) as http:
            smelt_id = await created(http)
            batch_id = (await http.post("/api/batches", json={})).json()["id"]
        hub = hub_of(server)
        paths = [
            f"/api/smelts/{smelt_id}/events",
            f"/api/batches/{batch_id}/events",
            "/api/files/events",
            "/api/notifications/events",
        ]
        await until(lambda: server._app.state.clients.count == 0)
        tasks = asyncio.all_tasks()
        async with caller_of(server, user) as http, AsyncExitStack() as opened:
            readers = [await opened.enter_async_context(stream(http, path)) for path in paths * 2]
            for reader in readers:
                await reader.next()
            [shared] = server._app.state.clients._shared.values()
            await until(lambda: hub.source_count == 4)
            await until(lambda: shared.client.diagnostics().connection.joined_count == 4)
        await until(lambda: hub.source_count == 0, timeout_s=2)
        assert server._app.state.streams.count == 0
        await until(lambda: shared.client.diagnostics().connection.channel_count == 0, timeout_s=2)
        assert shared.client.diagnostics().watches == ()
        await until(lambda: server._app.state.clients.count == 0)
        await until(lambda: asyncio.all_tasks() <= tasks)


@asynccontextmanager
async def slow_reader(server: GatewayServer, user: User, path: str) -> AsyncIterator[socket.socket]:
    """Open a stream over small buffers, and read nothing of it."""
    loop, slow = asyncio.get_running_loop(), socket.socket()
    # Connections inherit the size from the socket that listens.
    server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    with slow:
        await loop.sock_connect(slow, server._listener.getsockname())
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {user.access_token}\r\n\r\n"
        await loop.sock_sendall(slow, request.encode())
        await until(lambda: server._app.state.streams.count == 1)
        yield slow


async def test_slow_reader_gets_the_newest_state_and_shuts_out_nobody(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with serving(shared_stack) as server, caller_of(server, user) as http:
        smelt_id = await created(http)
        job = await scripted_worker.claim(UUID(smelt_id))
        path = f"/api/smelts/{smelt_id}/events"
        async with slow_reader(server, user, path) as slow:
            async with stream(http, path) as fast:
                assert (await fast.next()).event == "connected"
                for count in range(40):
                    await job.report("transcribing", 20.0 + count, words=["long " * 8000], first=count)
                    while json.loads((await fast.next()).data)["progress"]["percentage"] < 20.0 + count:
                        pass
                await job.complete()
                assert (await fast.rest())[-1].event == "completed"
            text = b""
            async with asyncio.timeout(30):
                while b"event: completed" not in text or not text.endswith(b"0\r\n\r\n"):
                    text += await asyncio.get_running_loop().sock_recv(slow, 1 << 16)
    assert text.count(b"event: progress") < 30
    assert text.count(b'"index":') == 40


async def test_streams_of_a_caller_are_bounded(shared_stack: Stack, user: User) -> None:
    async with serving(shared_stack, max_streams=3, max_streams_per_caller=2) as server:
        async with (
            caller_of(server, user) as http,
            caller_of(server, sign_up(shared_stack)) as other,
            AsyncExitStack() as opened,
        ):
            for _ in range(2):
                await opened.enter_async_context(stream(http, "/api/files/events"))
            rejected = await http.get("/api/files/events")
            assert (rejected.status_code, rejected.json()["code"]) == (429, "too_many_requests")
            assert int(rejected.headers["retry-after"]) > 0
            postponed = await http.get("/api/files/events", headers={"Accept": "text/event-stream"})
            assert postponed.status_code == 200
            assert postponed.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert re.fullmatch(r":too_many_requests\nretry: [3-6]\d{4}\n", postponed.text)
            metrics = (await http.get("/metrics")).text
            assert 'smelt_gateway_postponed_streams_total{code="too_many_requests"} 1.0' in metrics
            await opened.enter_async_context(stream(other, "/api/files/events"))
            assert (await other.get("/api/files/events")).status_code == 429
        await until(lambda: server._app.state.streams.count == 0)


async def test_drain_sends_a_stream_that_is_not_authorized_yet_the_hint_to_reconnect(
    shared_stack: Stack, user: User
) -> None:
    async with (
        faulty_proxy(shared_stack.api_url) as proxy,
        serving(shared_stack, url=proxy.url, drain_s=1.0) as server,
        caller_of(server, user) as http,
    ):
        smelt_id = await created(http)
        proxy.stall()
        headers = {"Accept": "text/event-stream"}
        opening = asyncio.create_task(http.get(f"/api/smelts/{smelt_id}/events", headers=headers))
        await until(lambda: server._app.state.streams.count == 1)
        server.stop()
        postponed = await opening
    assert (postponed.status_code, postponed.text.partition("\n")[0]) == (200, ":stopping")


async def test_reader_that_takes_nothing_is_dropped(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "SEND_TIMEOUT_S", 0.5)
    async with serving(shared_stack, drain_s=1.0) as server, caller_of(server, user) as http:
        smelt_id = await created(http)
        job = await scripted_worker.claim(UUID(smelt_id))
        async with slow_reader(server, user, f"/api/smelts/{smelt_id}/events"):
            count = 0
            while server._app.state.streams.count:
                await job.report("transcribing", 21.0 + count / 100, words=["long " * 8000], first=count)
                count += 1
                assert count < 200
            assert hub_of(server).source_count == 0
