"""A worker, its watchers and the doctor with opaque keys, whose Realtime tokens expire every few seconds."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from smelt.local import StackHandle
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Segments, Update
from tests.harness.followers import feed, notifications, subscribe, wait, watch_batch
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.stacks import running_with_short_tokens, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import ROOT, STANDUP, WorkerProcess

LIFETIME_S = 6
REJOINS = 3
# An idle worker that is joined polls every 10 s or less often, a watch every 30 s.
WORKER_POLL_S, WATCH_POLL_S = 10.0, 30.0
AN_HOUR_AHEAD = """
import time
_time = time.time
time.time = lambda: _time() + 3600
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    with running_with_short_tokens(LIFETIME_S, tmp_path_factory.mktemp("short")) as running:
        yield running


def environment(stack: StackHandle, url: str) -> dict[str, str]:
    """Return the environment to reach the stack with opaque keys."""
    return {
        "SUPABASE_URL": url,
        "SUPABASE_ANON_KEY": stack.publishable_key,
        "SUPABASE_SERVICE_ROLE_KEY": stack.secret_key,
    }


@asynccontextmanager
async def worker(stack: StackHandle, folder: Path, url: str) -> AsyncIterator[WorkerProcess]:
    """Run a worker whose clock is an hour ahead, which must not affect its tokens; wait until it has joined."""
    process = WorkerProcess(stack, folder, before=AN_HOUR_AHEAD, **environment(stack, url))
    try:
        await until(lambda: "joined channel smelt-workers" in process.log.read_text())
        yield process
    finally:
        process.close()


def requests_to(proxy: FaultyProxy, function: str) -> int:
    return proxy.requests[f"/rest/v1/rpc/{function}"]


async def take(client: Client, smelt_id: object, updates: list[Update]) -> None:
    async for update in client.watch(str(smelt_id)):
        updates.extend([update])


async def test_worker_and_watchers_rejoin_when_tokens_expire_and_poll_no_more_often(
    stack: StackHandle, tmp_path: Path
) -> None:
    async with AsyncExitStack() as exits:
        at_worker = await exits.enter_async_context(faulty_proxy(stack.api_url))
        at_visitor = await exits.enter_async_context(faulty_proxy(stack.api_url))
        began_at = time.monotonic()
        running = await exits.enter_async_context(worker(stack, tmp_path, at_worker.url))
        visitor = await exits.enter_async_context(connect(at_visitor.url, stack.publishable_key))
        token = sign_up(stack).access_token
        user = await exits.enter_async_context(connect(stack.api_url, stack.publishable_key, token))
        batch = await user.create_batch()
        owned = await user.create(files=[STANDUP], batch_id=batch.id, submit=False)
        seen = await visitor.create(files=[STANDUP], submit=False)
        updates: list[Update] = []
        followings = [
            asyncio.create_task(take(visitor, seen.id, updates)),
            *(asyncio.create_task(follow(visitor, seen.id, batch.id)) for follow in (wait, subscribe)),
            *(asyncio.create_task(follow(user, owned.id, batch.id)) for follow in (watch_batch, feed, notifications)),
        ]

        def rejoins() -> tuple[int, int]:
            watches = visitor.diagnostics().watches
            at_worker = running.log.read_text().count("all channels are joined again")
            return at_worker, min((watch.rejoin_count for watch in watches), default=0)

        await until(lambda: min(rejoins()) >= REJOINS)
        claims, reads = requests_to(at_worker, "claim_smelts"), requests_to(at_visitor, "get_smelts")
        (worker_rejoins, watch_rejoins), elapsed_s = rejoins(), time.monotonic() - began_at
        assert claims <= 1 + worker_rejoins + 1 + elapsed_s / WORKER_POLL_S
        assert reads <= 1 + watch_rejoins + 1 + elapsed_s / WATCH_POLL_S

        await visitor.submit(seen.id)
        await user.submit(owned.id)
        await asyncio.wait_for(asyncio.gather(*followings), 60)
        assert isinstance(updates[-1], Completed)
        received = [segment.text for update in updates if isinstance(update, Segments) for segment in update.segments]
        assert received == [segment.text for segment in (await visitor.get(seen.id)).segments]
        assert not re.search("is (refused|rejected)", running.log.read_text())
        # The channels of a user are joined with the user's own token.
        assert user.diagnostics().connection.reconnect_count == 0


async def test_doctor_accepts_tokens_that_expire(stack: StackHandle, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "smelt", "doctor", "--json"),
        env={**os.environ, **environment(stack, stack.api_url), "SMELT_MODEL": "demo", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 100)
    findings = {finding["check"]: finding["level"] for finding in map(json.loads, output.splitlines())}
    assert "fail" not in findings.values(), output
    assert (findings["wake-up channel"], findings["foreign channel"]) == ("ok", "ok")
