"""OpenAI's own client for Python: its retries and its classes of errors, with a scripted worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import openai
import pytest

from smelt.contract.rows import SmeltRow
from tests.harness.gateways import RunningGateway, options_for, running_gateway
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

PATH = "/v1/audio/transcriptions"
TIMEOUT_S = 60.0


@pytest.fixture
async def proxy(gateway: RunningGateway) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(gateway.url) as proxy:
        yield proxy


def client_of(url: str, key: str) -> openai.AsyncOpenAI:
    """Return a client of a gateway, which retries twice by default."""
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, timeout=TIMEOUT_S)


def recording() -> tuple[str, bytes]:
    """Return a small recording whose bytes no other one has."""
    return ("a.wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + uuid4().bytes)


async def smelts_of(user: User, worker: ScriptedWorker) -> list[UUID]:
    """Return the submitted smelts of a user, as soon as there is one."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        rows, _ = await worker.rows_of_user(UUID(user.id))
        if found := [row.id for row in rows.values() if isinstance(row, SmeltRow) and row.submitted_at is not None]:
            return found
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_client_that_loses_its_connection_twice_makes_one_smelt(
    proxy: FaultyProxy, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with client_of(proxy.url, user.access_token) as client:
        requesting = asyncio.create_task(client.audio.transcriptions.create(file=recording(), model="whisper-1"))
        [smelt_id] = await smelts_of(user, scripted_worker)
        for count in (1, 2):
            proxy.cut()
            await until(lambda expected=count + 1: proxy.requests[PATH] == expected)
        job = await scripted_worker.claim(smelt_id)
        await job.report("transcribing", 50, words=["Ship", "it."])
        await job.complete()
        assert (await asyncio.wait_for(requesting, TIMEOUT_S)).text == "Ship it."
    assert await smelts_of(user, scripted_worker) == [smelt_id]


async def test_client_that_loses_a_stream_joins_the_smelt_with_its_next_request(
    proxy: FaultyProxy, user: User, scripted_worker: ScriptedWorker
) -> None:
    file = recording()
    async with client_of(proxy.url, user.access_token) as client:
        create = client.audio.transcriptions.create
        stream = await create(file=file, model="whisper-1", stream=True)
        [smelt_id] = await smelts_of(user, scripted_worker)
        job = await scripted_worker.claim(smelt_id)
        await job.report("transcribing", 50, words=["Ship"])
        event = await asyncio.wait_for(anext(stream), TIMEOUT_S)
        assert isinstance(event, openai.types.audio.TranscriptionTextDeltaEvent)
        assert event.delta == "Ship"
        proxy.cut()
        with pytest.raises(openai.APIConnectionError):
            await anext(stream)
        await job.report("transcribing", 60, words=["it."], first=1)
        await job.complete()
        async with asyncio.timeout(TIMEOUT_S):
            events = [event async for event in await create(file=file, model="whisper-1", stream=True)]
        assert events[-1].type == "transcript.text.done"
        assert events[-1].text == "Ship it."
    assert await smelts_of(user, scripted_worker) == [smelt_id]


async def test_client_raises_its_own_errors_without_retries_where_they_are_useless(
    proxy: FaultyProxy, user: User
) -> None:
    async def error_of(key: str, **parameters: object) -> openai.APIStatusError:
        async with client_of(proxy.url, key) as client:
            with pytest.raises(openai.APIStatusError) as raised:
                await client.audio.transcriptions.create(file=recording(), **{"model": "whisper-1", **parameters})  # type: ignore[call-overload]
        return raised.value

    errors = [
        await error_of("no token"),
        await error_of(user.access_token, model="no-model"),
        await error_of(user.access_token, temperature=0.5),
        await error_of(user.access_token, include=["logprobs"]),
        await error_of(user.access_token, extra_body={"diarize": True}),
    ]
    expected = [
        (openai.AuthenticationError, "unauthorized", None),
        (openai.NotFoundError, "model_not_found", "model"),
        (openai.BadRequestError, "invalid_value", "temperature"),
        (openai.BadRequestError, "unsupported_parameter", "include"),
        (openai.BadRequestError, "unsupported_parameter", "diarize"),
    ]
    assert [(type(error), error.code, error.param) for error in errors] == expected
    assert proxy.requests[PATH] == len(errors)


async def test_client_does_not_retry_a_wait_that_has_timed_out_and_knows_the_smelt(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    with running_gateway(options_for(shared_stack, openai_wait_s=0.2)) as impatient:
        async with faulty_proxy(impatient.url) as proxy, client_of(proxy.url, user.access_token) as client:
            with pytest.raises(openai.InternalServerError) as raised:
                await client.audio.transcriptions.create(file=recording(), model="whisper-1")
            assert proxy.requests[PATH] == 1
    assert raised.value.status_code == 504
    assert [UUID(raised.value.response.headers["x-smelt-id"])] == await smelts_of(user, scripted_worker)


async def test_client_raises_rate_limit_error_beyond_a_limit(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    with running_gateway(options_for(shared_stack, max_streams_per_caller=1)) as small:
        async with client_of(small.url, user.access_token) as client:
            create = client.with_options(max_retries=0).audio.transcriptions.create
            async with await create(file=recording(), model="whisper-1", stream=True):
                with pytest.raises(openai.RateLimitError) as raised:
                    await create(file=recording(), model="whisper-1")
    assert raised.value.response.headers["retry-after"]


async def test_client_raises_the_error_of_a_smelt_that_fails_in_a_stream(
    gateway: RunningGateway, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with client_of(gateway.url, user.access_token) as client:
        stream = await client.audio.transcriptions.create(file=recording(), model="whisper-1", stream=True)
        [smelt_id] = await smelts_of(user, scripted_worker)
        await (await scripted_worker.claim(smelt_id)).fail("corrupted_file")
        with pytest.raises(openai.APIError, match="damaged") as raised:
            await asyncio.wait_for(anext(stream), TIMEOUT_S)
        assert raised.value.code == "corrupted_file"


async def test_client_lists_models_and_rejects_an_invalid_key(gateway: RunningGateway, user: User) -> None:
    async with client_of(gateway.url, user.access_token) as client:
        assert "whisper-1" in [model.id async for model in client.models.list()]
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="sb_publishable_x").models.list()
