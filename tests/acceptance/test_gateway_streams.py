"""EventSource in Chromium, httpx-sse and curl follow a smelt over killed workers and gateways."""

import asyncio
import json
import shutil
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.contract.state import Snapshot
from smelt.gateway import limits
from tests.acceptance.commands import ROOT, environment
from tests.acceptance.gateway_process import GatewayProcess, gateway_process
from tests.harness.endless_model import ENDLESS_MODEL
from tests.harness.gateways import SIGNING_KEY, http_client, options_for, running_gateway
from tests.harness.sse_readers import Received, read_smelt, stream
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import STANDUP, WorkerProcess

JS = ROOT / "tests" / "js"
POSTPONED = b'smelt_gateway_postponed_streams_total{code="too_many_requests"}'

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists() or not Path("/usr/bin/chromium").exists(),
    reason="needs Chromium (apt-get install chromium), and `npm install` in tests/js",
)


async def follow(http: httpx.AsyncClient, path: str, received: Received) -> None:
    """Follow a smelt as an EventSource does, with httpx-sse."""
    while True:
        with suppress(httpx.TransportError):
            if await read_smelt(http, path, received) == httpx.codes.NO_CONTENT:
                return
        await asyncio.sleep(0.2)


async def follow_with_curl(url: str, received: Received) -> None:
    """Follow a smelt with one `curl` after another."""
    while True:
        last = [] if received.last_id is None else ["-H", f"Last-Event-ID: {received.last_id}"]
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sN", "--noproxy", "*", "-w", "status %{http_code}", *last, url, stdout=asyncio.subprocess.PIPE
        )
        printed = (await curl.communicate())[0].decode()
        # The text after the last empty line is not a whole event.
        for text in printed.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)  # Not a comment.
            if "id" in fields:
                received.add(fields["event"], fields["id"], fields["data"])
        if printed.endswith("status 204"):
            return
        await asyncio.sleep(0.2)


async def follow_in_chromium(url: str, received: Received, is_ready: asyncio.Event) -> int:
    """Follow a smelt with EventSource; return how often it was opened."""
    node = await asyncio.create_subprocess_exec(
        "node", "event-source.mjs", url, cwd=JS, env=environment({}), stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert node.stdout is not None
    try:
        assert await node.stdout.readline() == b"ready\n"
        is_ready.set()
        result: dict[str, Any] = json.loads(await node.stdout.readline())
    finally:
        if node.returncode is None:
            node.send_signal(signal.SIGTERM)
        await node.wait()
    for name, event_id, data in result["events"]:
        received.add(name, event_id, data)
    return int(result["opened"])


@pytest.mark.own_project("whose worker is killed")
async def test_readers_lose_and_double_nothing_over_killed_workers_and_gateways(
    fresh_stack: Stack, tmp_path: Path
) -> None:
    stack = fresh_stack
    with ExitStack() as closing:
        user = sign_up(stack)
        env = {**stack.env(), "SMELT_SIGNING_KEYS": SIGNING_KEY, "SMELT_ALLOWED_ORIGINS": "*"}
        gateway = closing.enter_context(gateway_process(env, tmp_path / "gateway-1.log"))
        url, port = gateway.url, int(gateway.url.rpartition(":")[2])
        async with AsyncExitStack() as opened, asyncio.timeout(200):
            headers = {"Authorization": f"Bearer {user.access_token}"}
            http = await opened.enter_async_context(http_client(url, headers))
            recording = STANDUP.read_bytes()
            files = [("file", (f"{name}.ogg", recording)) for name in ("first", "second")]
            smelt_id = (await http.post("/api/smelts", files=files)).raise_for_status().json()["id"]
            path = f"/api/smelts/{smelt_id}/events"
            token = (await http.post(f"/api/smelts/{smelt_id}/token")).raise_for_status().json()["token"]
            readers = [Received() for _ in range(3)]
            with_token, is_ready = f"{url}{path}?token={token}", asyncio.Event()
            following = [
                asyncio.create_task(follow(http, path, readers[0])),
                asyncio.create_task(follow_with_curl(with_token, readers[1])),
                asyncio.create_task(follow_in_chromium(with_token, readers[2], is_ready)),
            ]
            await is_ready.wait()
            worker = WorkerProcess(stack, tmp_path, before=ENDLESS_MODEL, SMELT_LEASE_S="5")
            closing.callback(worker.close)
            await until(lambda: len(readers[0].segments) >= 3)
            gateway = replace(closing, gateway, signal.SIGKILL, lambda: gateway_process(env, tmp_path / "2.log", port))
            worker.end(signal.SIGKILL)
            worker = WorkerProcess(stack, tmp_path, SMELT_LEASE_S="5")
            closing.callback(worker.close)
            count = len(readers[0].segments)
            await until(lambda: len(readers[0].segments) > count)
            gateway = replace(closing, gateway, signal.SIGTERM, lambda: gateway_process(env, tmp_path / "3.log", port))
            _, _, opened_count = await asyncio.gather(*following)
            async with Project(stack.api_url, stack.anon_key, access_token=user.access_token) as project:
                state = await ClientRpc(project.rpc).get_smelt(smelt_id)
        assert isinstance(state, Snapshot)
        assert (state.status, state.run, len(state.files)) == ("completed", 1, 2)
        assert state.attempt >= 2
        for received in readers:
            received.assert_complete(state)
        # Of a gateway that was soon replaced, EventSource may have seen nothing: it waits before it reconnects.
        assert opened_count >= 2


async def test_event_source_follows_a_smelt_although_the_gateway_had_no_place_at_first(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUSY_RETRY_AFTER_S", 1)
    headers = {"Authorization": f"Bearer {sign_up(stack).access_token}"}
    options = options_for(stack, max_streams=1, allowed_origins=("*",))
    with running_gateway(options) as gateway:
        async with asyncio.timeout(100), http_client(gateway.url, headers) as http:
            new = {"text": "Ship it.", "submit": False}
            path = f"/api/smelts/{(await http.post('/api/smelts', json=new)).raise_for_status().json()['id']}"
            token = (await http.post(f"{path}/token")).raise_for_status().json()["token"]
            received = Received()
            url = f"{gateway.url}{path}/events?token={token}"
            async with stream(http, f"{path}/events"):
                following = asyncio.create_task(follow_in_chromium(url, received, asyncio.Event()))
                metrics = gateway.server.config.app.state.metrics  # type: ignore[union-attr]
                await until(lambda: POSTPONED in metrics.text() or following.done())
            (await http.post(f"{path}/cancel")).raise_for_status()
            opened_count = await following
    assert received.ends == ["failed"]
    assert opened_count >= 2


def replace(
    closing: ExitStack, gateway: GatewayProcess, number: signal.Signals, start: Callable[[], Any]
) -> GatewayProcess:
    """End a gateway with a signal, and start another one."""
    gateway.process.send_signal(number)
    gateway.process.wait(30)
    started: GatewayProcess = closing.enter_context(start())
    return started
