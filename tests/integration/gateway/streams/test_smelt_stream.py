"""The stream of a smelt: its opening, its events, resumption, and the permission to read it."""

import asyncio
import json
import random
import time
from contextlib import aclosing, suppress
from uuid import UUID

import httpx
import psycopg
import pytest

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.contract.state import Snapshot
from smelt.gateway.streams import stream as stream_module
from smelt.gateway.tokens import LIFETIME_S, ReadTokens
from tests.harness.gateways import SIGNING_KEY, RunningGateway, http_client, options_for, running_gateway
from tests.harness.processes import run
from tests.harness.scripted_worker import Job, ScriptedWorker
from tests.harness.sse_readers import Received, read_smelt, stream
from tests.harness.stacks import Stack, User, sign_up


async def created(http: httpx.AsyncClient) -> str:
    response = await http.post("/api/smelts", json={"text": "Ship it on Monday."})
    return str(response.raise_for_status().json()["id"])


async def state_of(stack: Stack, user: User, smelt_id: str) -> Snapshot:
    async with Project(stack.api_url, stack.anon_key, access_token=user.access_token) as project:
        state = await ClientRpc(project.rpc).get_smelt(smelt_id)
    assert isinstance(state, Snapshot)
    return state


def path_of(smelt_id: str) -> str:
    return f"/api/smelts/{smelt_id}/events"


async def speak(job: Job, first: int, count: int = 1, *, broadcast: bool = True) -> None:
    words = [f"word {index}" for index in range(first, first + count)]
    await job.report("transcribing", 20.0 + first / 2, words=words, first=first, broadcast=broadcast)


async def test_stream_opens_at_once_with_headers_retry_and_connected(owner: httpx.AsyncClient) -> None:
    smelt_id = await created(owner)
    async with owner.stream("GET", path_of(smelt_id)) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        async with aclosing(response.aiter_text()) as chunks:
            first = await anext(chunks)
    assert first.startswith(f'retry: 2000\nevent: connected\ndata: {{"smelt_id": "{smelt_id}"}}\n\n')


async def test_stream_is_the_state_then_live_events_and_ends_after_the_terminal_one(
    shared_stack: Stack, owner: httpx.AsyncClient, user: User, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = await created(owner)
    job = await scripted_worker.claim(UUID(smelt_id))
    await speak(job, 0, 3)
    received = Received()
    async with stream(owner, path_of(smelt_id)) as reader:
        assert (await reader.next()).event == "connected"
        first = await reader.next()
        received.add(first.event, first.id, first.data)
        assert [index for _, _, index, _ in received.segments] == [0, 1, 2]
        await speak(job, 3)
        await job.complete("the notes")
        for event in await reader.rest():
            received.add(event.event, event.id, event.data)
    state = await state_of(shared_stack, user, smelt_id)
    received.assert_complete(state)
    end = received.events[-1][1]
    assert [result["content"] for result in end["results"]] == ["the notes"]
    assert (end["seq"], end["attempt"]) == (state.seq, state.attempt)
    assert received.last_id == f"{state.run}.{state.seq}.{state.segments_seq}"
    assert await read_smelt(owner, path_of(smelt_id), received) == 204
    assert (await owner.get(f"{path_of(smelt_id)}?after={received.last_id}")).status_code == 204


async def test_stream_of_the_next_run_follows_the_end_of_the_last(
    shared_stack: Stack, owner: httpx.AsyncClient, user: User, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = await created(owner)
    job = await scripted_worker.claim(UUID(smelt_id))
    await speak(job, 0, 2)
    await job.fail("transcription_failed")
    received = Received()
    assert await read_smelt(owner, path_of(smelt_id), received) == 200
    assert await read_smelt(owner, path_of(smelt_id), received) == 204
    (await owner.post(f"/api/smelts/{smelt_id}/retry")).raise_for_status()
    await (await scripted_worker.claim(UUID(smelt_id))).complete()
    assert await read_smelt(owner, path_of(smelt_id), received) == 200
    assert received.ends == ["failed", "completed"]
    assert [(run, index) for run, _, index, _ in received.segments] == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize("last_id", ["nonsense", "9.1.1", "1.99.1", "1.1.99999999999999999", "0.0.0"])
async def test_nonsense_and_ids_of_newer_runs_start_from_the_state(
    shared_stack: Stack, owner: httpx.AsyncClient, user: User, scripted_worker: ScriptedWorker, last_id: str
) -> None:
    smelt_id = await created(owner)
    job = await scripted_worker.claim(UUID(smelt_id))
    await speak(job, 0, 2)
    await job.complete()
    received = Received(last_id=last_id)
    assert await read_smelt(owner, path_of(smelt_id), received) == 200
    received.assert_complete(await state_of(shared_stack, user, smelt_id))


class Cuts:
    """Readers of one smelt that cut their connections at random, and lose them when the gateway stops."""

    def __init__(self, user: User, smelt_id: str, chance: random.Random) -> None:
        self.readers = [Received() for _ in range(6)]
        self._headers = {"Authorization": f"Bearer {user.access_token}"}
        self._path = path_of(smelt_id)
        self._chance = chance

    async def follow(self, url: str, received: Received, until: asyncio.Event) -> None:
        """Read through one gateway, over many connections."""
        while not until.is_set() and not received.ends:
            count = len(received.events) + self._chance.randint(1, 5)
            with suppress(httpx.TransportError):
                async with http_client(url, self._headers) as http:
                    await read_smelt(http, self._path, received, is_enough=lambda one, n=count: len(one.events) >= n)

    async def finish(self, http: httpx.AsyncClient, state: Snapshot) -> None:
        """Read to the end; assert that nothing was lost or doubled, and that a reconnect gets 204."""
        for received in self.readers:
            while not received.ends:
                await read_smelt(http, self._path, received)
            received.assert_complete(state)
            assert await read_smelt(http, self._path, received) == 204


async def test_resumption_over_cuts_restarts_and_lost_events_loses_and_doubles_nothing(
    shared_stack: Stack, user: User, owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelt_id, chance = await created(owner), random.Random(7)
    job = await scripted_worker.claim(UUID(smelt_id))
    cuts = Cuts(user, smelt_id, chance)
    spoken = 0
    for _ in range(3):
        with running_gateway(options_for(shared_stack)) as running:
            restart = asyncio.Event()
            async with asyncio.TaskGroup() as following:
                for received in cuts.readers:
                    following.create_task(cuts.follow(running.url, received, restart))
                for _ in range(8):
                    count = chance.randint(1, 3)
                    await speak(job, spoken, count, broadcast=chance.random() < 0.8)
                    spoken += count
                    await asyncio.sleep(chance.uniform(0, 0.1))
                restart.set()
                running.server.stop()
    await job.complete()
    state = await state_of(shared_stack, user, smelt_id)
    assert len(state.segments) == spoken
    await cuts.finish(owner, state)


async def test_curl_resumes_by_last_event_id(
    shared_stack: Stack, gateway: RunningGateway, owner: httpx.AsyncClient, user: User, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = await created(owner)
    job = await scripted_worker.claim(UUID(smelt_id))
    await speak(job, 0, 2)
    received = Received()

    async def curl(*options: str) -> str:
        command = ["curl", "-sN", "--noproxy", "*", "-H", f"Authorization: Bearer {user.access_token}", *options]
        done = await asyncio.to_thread(run, [*command, f"{gateway.url}{path_of(smelt_id)}"])
        for text in done.stdout.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            if "id" in fields:
                received.add(fields["event"], fields["id"], fields["data"])
        return done.stdout

    await curl("--max-time", "1")
    await speak(job, 2, 2)
    await job.complete()
    await curl("-H", f"Last-Event-ID: {received.last_id}")
    received.assert_complete(await state_of(shared_stack, user, smelt_id))
    assert await curl("-w", "%{http_code}", "-H", f"Last-Event-ID: {received.last_id}") == "204"


async def test_smelt_of_another_user_is_404_before_the_stream(
    shared_stack: Stack, owner: httpx.AsyncClient, gateway: RunningGateway, visitor: httpx.AsyncClient
) -> None:
    smelt_id = await created(owner)
    other = {"Authorization": f"Bearer {sign_up(shared_stack).access_token}"}
    for headers in (other, {}):
        response = await visitor.get(path_of(smelt_id), headers=headers)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    rejected = await visitor.get(path_of(smelt_id), headers={"Authorization": "Bearer sb_secret_nothing"})
    assert (rejected.status_code, rejected.json()["code"]) == (401, "unauthorized")


async def test_stream_of_a_read_only_token_ends_with_an_error_once_the_token_expires(
    visitor: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    smelt_id = await created(owner)
    token, _ = ReadTokens([SIGNING_KEY]).issue(UUID(smelt_id), time.time() - LIFETIME_S + 2)
    async with stream(visitor, f"{path_of(smelt_id)}?token={token}") as reader:
        *_, last = await reader.rest(20)
    assert last.event == "error"
    assert json.loads(last.data)["code"] == "token_expired"
    assert (await visitor.get(f"{path_of(smelt_id)}?token={token}")).status_code == 401


@pytest.mark.own_project("whose rows the test changes")
async def test_stream_is_checked_again_and_ends_with_an_error_without_permission(
    shared_stack: Stack, owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CHECK_INTERVAL_S", 0.3)
    smelt_id = await created(owner)
    async with stream(owner, path_of(smelt_id)) as reader:
        assert (await reader.next()).event == "connected"
        assert (await reader.next()).event == "progress"
        with psycopg.connect(shared_stack.db_url, autocommit=True) as connection:
            other = sign_up(shared_stack).id
            connection.execute("update public.smelts set user_id = %s where id = %s", (other, smelt_id))
        # The shared watch would notice it with its next read, after 30 s.
        *_, last = await reader.rest(10)
    assert (last.event, json.loads(last.data)["code"]) == ("error", "not_found")


async def test_stream_of_a_deleted_smelt_ends(owner: httpx.AsyncClient) -> None:
    smelt_id = await created(owner)
    async with stream(owner, path_of(smelt_id)) as reader:
        (await owner.delete(f"/api/smelts/{smelt_id}")).raise_for_status()
        *_, last = await reader.rest()
    assert last.event in ("failed", "error")


async def test_idle_stream_gets_comments(owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "COMMENT_INTERVAL_S", 0.2)
    smelt_id = await created(owner)
    async with owner.stream("GET", path_of(smelt_id)) as response, asyncio.timeout(20):
        text = ""
        async with aclosing(response.aiter_text()) as chunks:
            async for chunk in chunks:
                text += chunk
                if text.count("\n:\n") >= 3:
                    break


async def test_drain_ends_streams_with_a_retry_hint(shared_stack: Stack, user: User, owner: httpx.AsyncClient) -> None:
    smelt_id = await created(owner)
    headers = {"Authorization": f"Bearer {user.access_token}"}
    with running_gateway(options_for(shared_stack)) as running:
        async with (
            http_client(running.url, headers) as http,
            http.stream("GET", path_of(smelt_id)) as response,
        ):
            text, stopped_at = "", 0.0

            def stop() -> None:
                nonlocal stopped_at
                stopped_at = time.monotonic()
                running.server.stop()

            async for chunk in response.aiter_text():
                text += chunk
                if "event: progress" in text and not stopped_at:
                    stopped_at = float("inf")
                    asyncio.get_running_loop().call_later(1, stop)  # The stream is idle then.
            assert time.monotonic() - stopped_at < 3
    assert text.rstrip().rpartition("\n")[2].startswith("retry: ")
