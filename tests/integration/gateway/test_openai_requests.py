"""OpenAI's audio API with a scripted worker: formats, repeated requests, waiting, streams, and errors."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from httpx_sse import aconnect_sse

from smelt.backend.upload_source import UploadSource
from smelt.contract.vocabulary import MAX_VOCABULARY, ErrorCode
from smelt.subscriber.uploads import Uploads
from tests.harness.gateways import Open, RunningGateway, options_for, running_gateway
from tests.harness.scripted_worker import Job, ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

PATH = "/v1/audio/transcriptions"
FORM = {"model": "whisper-1"}
WORDS = ("One", "two.", "Three.")
TEXT = "One two. Three."
TIMEOUT_S = 60.0


def recording(name: str = "a.wav") -> dict[str, tuple[str, bytes]]:
    """Return a small recording whose bytes no other one has."""
    return {"file": (name, b"RIFF\x24\x00\x00\x00WAVEfmt " + uuid4().bytes)}


async def listed(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return the smelts of a caller."""
    smelts: list[dict[str, Any]] = (await http.get("/api/smelts")).json()["smelts"]
    return smelts


async def newest(http: httpx.AsyncClient, count: int = 1) -> UUID:
    """Return the newest smelt of a caller once there are `count` ones."""
    deadline = time.monotonic() + TIMEOUT_S
    while len(smelts := await listed(http)) < count:
        assert time.monotonic() < deadline, f"there are {len(smelts)} smelts"
        await asyncio.sleep(0.05)
    return UUID(smelts[0]["id"])


async def claimed(http: httpx.AsyncClient, worker: ScriptedWorker, count: int = 1) -> Job:
    """Claim the newest smelt of a caller once there are `count` ones, and it is submitted."""
    return await worker.claim(await newest(http, count))


def assert_error(response: httpx.Response, status: int, code: str, parameter: str | None = None) -> None:
    """Assert that a response is an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, parameter)
    assert error["message"]


async def complete(job: Job) -> None:
    """Transcribe and complete a smelt."""
    file = {"id": str(job.claim.files[0].id), "status": "completed", "duration_seconds": 3.5, "language": "de"}
    await job.report("transcribing", 50, words=WORDS, files=[file])
    await job.complete(TEXT)


async def test_transcription_has_the_requested_format(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    files = recording()
    waiting = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
    job = await claimed(owner, scripted_worker)
    await complete(job)
    response = await waiting
    assert response.status_code == 200, response.text
    assert response.headers["x-smelt-id"] == str(job.claim.id)
    usage = {"type": "duration", "seconds": 3.5}
    assert response.json() == {"text": TEXT, "usage": usage}
    formats = ("text", "srt", "vtt", "verbose_json")
    responses = [await owner.post(PATH, files=files, data={**FORM, "response_format": name}) for name in formats]
    text, srt, vtt, verbose = responses
    assert {response.headers["x-smelt-id"] for response in responses} == {str(job.claim.id)}
    assert text.text == f"{TEXT}\n"
    assert srt.text.startswith("1\n00:00:00,000 --> ")
    assert vtt.text.startswith("WEBVTT\n")
    segments = [{"id": n, "start": n, "end": n + 1, "text": word} for n, word in enumerate(WORDS)]
    assert verbose.json() == {
        "task": "transcribe",
        "language": "de",
        "duration": 3.5,
        "text": TEXT,
        "segments": segments,
        "usage": usage,
    }


async def test_transcription_requests_a_smelt_without_prompts_and_with_its_options(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    names = [f"Name {n}" for n in range(MAX_VOCABULARY - 2)]
    form = {
        **FORM,
        "language": "de",
        "prompt": "Ada Lovelace, Smelt",
        "keywords[]": names,
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word"],
        "temperature": "0.0",
        "chunking_strategy": "auto",
    }
    waiting = asyncio.create_task(owner.post(PATH, files=recording(), data=form))
    job = await claimed(owner, scripted_worker)
    state = (await owner.get(f"/api/smelts/{job.claim.id}")).json()
    assert state["default_prompt_names"] == []
    assert state["options"] == {
        "language": "de",
        "vocabulary": ["Ada Lovelace", "Smelt", *names],
        "word_times": True,
    }
    await complete(job)  # Without the times of words, unlike any worker.
    assert_error(await waiting, 400, "unsupported_value", "timestamp_granularities")


async def test_translation_requests_the_task(owner: httpx.AsyncClient, scripted_worker: ScriptedWorker) -> None:
    form = {**FORM, "response_format": "verbose_json"}
    waiting = asyncio.create_task(owner.post("/v1/audio/translations", files=recording(), data=form))
    job = await claimed(owner, scripted_worker)
    assert (await owner.get(f"/api/smelts/{job.claim.id}")).json()["options"] == {"task": "translate"}
    await complete(job)
    body = (await waiting).json()
    assert (body["task"], body["language"], body["text"]) == ("translate", "en", TEXT)


async def test_repeated_request_joins_the_smelt_also_after_its_end(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    files = recording()
    waiting = [asyncio.create_task(owner.post(PATH, files=files, data=FORM)) for _ in range(3)]
    job = await claimed(owner, scripted_worker)
    await complete(job)
    responses = [await one for one in waiting] + [await owner.post(PATH, files=files, data=FORM)]
    assert {response.headers["x-smelt-id"] for response in responses} == {str(job.claim.id)}
    assert {response.json()["text"] for response in responses} == {TEXT}
    assert len(await listed(owner)) == 1
    for changed in ({"data": {**FORM, "language": "de"}}, {"files": recording()}):
        leaving = asyncio.create_task(owner.post(PATH, **{"files": files, "data": FORM, **changed}))
        count = len(await listed(owner))
        await claimed(owner, scripted_worker, count + 1)
        leaving.cancel()


async def test_request_whose_upload_ends_after_that_of_an_equal_one_joins_its_smelt(
    owner: httpx.AsyncClient,
    project_of_user: httpx.AsyncClient,
    scripted_worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Uploads.run

    async def run_late(self: Uploads, sources: Sequence[UploadSource], paths: Sequence[str]) -> None:
        await run(self, sources, paths)
        async with httpx.AsyncClient(base_url=project_of_user.base_url, headers=project_of_user.headers) as equal:
            submitted = await equal.post("/rest/v1/rpc/submit_smelt", json={"smelt_id": paths[0].partition("/")[0]})
            submitted.raise_for_status()
        await run(self, sources, paths)

    monkeypatch.setattr(Uploads, "run", run_late)
    waiting = asyncio.create_task(owner.post(PATH, files=recording(), data=FORM))
    await complete(await claimed(owner, scripted_worker))
    response = await waiting
    assert (response.status_code, response.json().get("text")) == (200, TEXT)


async def test_request_after_a_failed_one_makes_a_new_smelt(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    files = recording()
    failures: list[tuple[ErrorCode, int, str | None]] = [
        ("internal_error", 500, None),
        ("cancelled", 409, None),
        ("corrupted_file", 400, "file"),
        ("transcription_failed", 400, None),
    ]
    smelt_ids = set()
    for count, (code, status, parameter) in enumerate(failures, start=1):
        waiting = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
        job = await claimed(owner, scripted_worker, count)
        await job.fail(code)
        response = await waiting
        assert_error(response, status, code, parameter)
        assert response.headers["x-smelt-id"] == str(job.claim.id)
        # A client that repeats the request by itself would make a new smelt each time.
        assert status == 400 or response.headers["x-should-retry"] == "false"
        smelt_ids.add(job.claim.id)
    assert len(smelt_ids) == len(failures)


async def test_request_after_24_hours_makes_a_new_smelt(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, shared_stack: Stack
) -> None:
    files = recording()
    waiting = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
    job = await claimed(owner, scripted_worker)
    await complete(job)
    await waiting
    key = job.claim.id
    with psycopg.connect(shared_stack.db_url, autocommit=True) as database:
        database.execute(
            """
            update public.smelts set
                created_at = created_at - interval '24 h',
                metadata = jsonb_build_object('openai_request', metadata ->> 'openai_request' || '-1')
            where id = %s
            """,
            [key],
        )
        database.execute(
            "update smelt.requests set idempotency_key = idempotency_key || '-1' where smelt_id = %s", [key]
        )
    leaving = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
    assert (await claimed(owner, scripted_worker, 2)).claim.id != key
    leaving.cancel()


async def test_service_does_not_join_the_smelt_of_a_user(
    as_caller: Open, owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, shared_stack: Stack
) -> None:
    files = recording()
    service = as_caller(shared_stack.service_role_key)
    waiting = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
    await complete(await claimed(owner, scripted_worker))
    data = {**FORM, "stream": "true"}
    async with asyncio.timeout(TIMEOUT_S), aconnect_sse(service, "POST", PATH, files=files, data=data) as source:
        smelt_id = source.response.headers["x-smelt-id"]
        assert smelt_id != (await waiting).headers["x-smelt-id"]
        await complete(await scripted_worker.claim(UUID(smelt_id)))
        assert [json.loads(event.data) async for event in source.aiter_sse()][-1]["text"] == TEXT
    assert (await service.post(PATH, files=files, data=FORM)).headers["x-smelt-id"] == smelt_id


async def test_wait_ends_with_504_that_clients_do_not_retry_and_the_smelt_goes_on(
    owner: httpx.AsyncClient, shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    files = recording()
    headers = {"Authorization": f"Bearer {user.access_token}"}
    with running_gateway(options_for(shared_stack, openai_wait_s=0.2)) as impatient:
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:
            response = await http.post(impatient.url + PATH, files=files, data=FORM)
    assert_error(response, 504, "timeout")
    assert response.headers["x-should-retry"] == "false"
    smelt_id = response.headers["x-smelt-id"]
    assert smelt_id in response.json()["error"]["message"]
    await complete(await scripted_worker.claim(UUID(smelt_id)))
    assert (await owner.post(PATH, files=files, data=FORM)).json()["text"] == TEXT


async def test_disconnect_releases_the_place_and_the_smelt_goes_on(
    gateway: RunningGateway, owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    places = gateway.server.config.app.state.streams  # type: ignore[union-attr]
    files = recording()
    leaving = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
    job = await claimed(owner, scripted_worker)
    await until(lambda: places.count > 0)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    await until(lambda: places.count == 0)
    await complete(job)
    assert (await owner.post(PATH, files=files, data=FORM)).json()["text"] == TEXT


async def test_drain_ends_a_wait_with_503_and_another_gateway_joins_the_smelt(
    owner: httpx.AsyncClient, shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    files = recording()
    headers = {"Authorization": f"Bearer {user.access_token}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        with running_gateway(options_for(shared_stack)) as stopping:
            waiting = asyncio.create_task(http.post(stopping.url + PATH, files=files, data=FORM))
            job = await claimed(owner, scripted_worker)
        response = await waiting
    assert_error(response, 503, "unavailable")
    assert response.headers["retry-after"]
    await complete(job)
    joined = await owner.post(PATH, files=files, data=FORM)
    assert joined.headers["x-smelt-id"] == response.headers["x-smelt-id"]


async def streamed(http: httpx.AsyncClient, **form: str) -> list[dict[str, Any]]:
    """Return the events of a stream to its end."""
    data = {**FORM, "stream": "true", **form}
    async with asyncio.timeout(TIMEOUT_S), aconnect_sse(http, "POST", PATH, files=recording(), data=data) as source:
        source.response.raise_for_status()
        assert UUID(source.response.headers["x-smelt-id"])
        return [json.loads(event.data) async for event in source.aiter_sse()]


async def test_stream_sends_the_text_as_it_grows(owner: httpx.AsyncClient, scripted_worker: ScriptedWorker) -> None:
    data = {**FORM, "stream": "true"}
    async with asyncio.timeout(TIMEOUT_S), aconnect_sse(owner, "POST", PATH, files=recording(), data=data) as source:
        job = await scripted_worker.claim(UUID(source.response.headers["x-smelt-id"]))
        events = source.aiter_sse()
        for n, word in enumerate(WORDS):
            await job.report("transcribing", 30 + n, words=[word], first=n)
            delta = json.loads((await anext(events)).data)
            assert delta == {"type": "transcript.text.delta", "delta": f" {word}" if n else word}
        await job.complete(TEXT)
        assert [json.loads(event.data) async for event in events] == [{"type": "transcript.text.done", "text": TEXT}]


async def test_diarized_transcription_requests_speakers_and_has_them(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    form = {**FORM, "response_format": "diarized_json"}
    waiting = asyncio.create_task(owner.post(PATH, files=recording(), data=form))
    job = await claimed(owner, scripted_worker)
    assert (await owner.get(f"/api/smelts/{job.claim.id}")).json()["options"] == {"speakers": True}
    await job.report("transcribing", 40, words=WORDS[:2], speaker="Speaker 1")
    file = {"id": str(job.claim.files[0].id), "status": "completed", "duration_seconds": 3.5}
    await job.report("transcribing", 50, words=WORDS[2:], first=2, speaker="Speaker 2", files=[file])
    await job.complete(TEXT)
    content = (await waiting).json()
    assert (content["text"], content["duration"], content["task"]) == (TEXT, 3.5, "transcribe")
    assert [(one["id"], one["text"], one["speaker"], one["type"]) for one in content["segments"]] == [
        ("seg_000", "One", "Speaker 1", "transcript.text.segment"),
        ("seg_001", "two.", "Speaker 1", "transcript.text.segment"),
        ("seg_002", "Three.", "Speaker 2", "transcript.text.segment"),
    ]


async def test_stream_of_verbose_json_also_sends_segments(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    reading = asyncio.create_task(streamed(owner, response_format="verbose_json"))
    await complete(await claimed(owner, scripted_worker))
    events = await reading
    segments = [event for event in events if event["type"] == "transcript.text.segment"]
    assert segments[1] == {
        "type": "transcript.text.segment",
        "id": "seg_001",
        "start": 1.0,
        "end": 2.0,
        "text": "two.",
        "speaker": "",
    }
    assert [segment["text"] for segment in segments] == list(WORDS)
    assert events[-1]["text"] == TEXT


async def test_stream_ends_with_an_error_if_the_smelt_fails_or_the_gateway_stops(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, shared_stack: Stack, user: User
) -> None:
    reading = asyncio.create_task(streamed(owner))
    await (await claimed(owner, scripted_worker)).fail("corrupted_file")
    [event] = await reading
    assert (event["error"]["code"], event["error"]["type"]) == ("corrupted_file", "invalid_request_error")
    headers = {"Authorization": f"Bearer {user.access_token}"}
    with running_gateway(options_for(shared_stack)) as stopping:
        async with httpx.AsyncClient(base_url=stopping.url, headers=headers, timeout=60) as http:
            reading = asyncio.create_task(streamed(http))
            await claimed(owner, scripted_worker, 2)
            await until(lambda: stopping.server.config.app.state.hub.source_count)  # type: ignore[union-attr]
            stopping.server.stop()
            [event] = await reading
    assert (event["error"]["code"], event["error"]["type"]) == ("unavailable", "server_error")


async def test_model_of_a_live_worker_is_requested_and_another_one_is_404_without_a_smelt(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    model = f"model-{uuid4()}"
    rejected = await owner.post(PATH, files=recording(), data={"model": model})
    assert_error(rejected, 404, "model_not_found", "model")
    assert await listed(owner) == []
    await scripted_worker.calls.heartbeat_worker("scripted", {"models": [model]}, host="here")
    assert model in [listed["id"] for listed in (await owner.get("/v1/models")).json()["data"]]
    waiting = asyncio.create_task(owner.post(PATH, files=recording(), data={"model": model}))
    job = await scripted_worker.claim(await newest(owner), models=[model])
    assert (await owner.get(f"/api/smelts/{job.claim.id}")).json()["options"] == {"model": model}
    await complete(job)
    assert (await waiting).json()["text"] == TEXT


async def test_models_are_listed_for_callers_whose_token_is_valid(owner: httpx.AsyncClient, as_caller: Open) -> None:
    [model, *_] = (await owner.get("/v1/models")).json()["data"]
    assert (model["id"], model["object"]) == ("whisper-1", "model")
    assert_error(await as_caller("sb_secret_of_nobody").get("/v1/models"), 401, "unauthorized")


INVALID: Final[list[tuple[dict[str, Any], str, str | None]]] = [
    ({"data": {}, "files": recording()}, "missing_required_parameter", "model"),
    ({"data": FORM, "files": {"x": (None, "")}}, "missing_required_parameter", "file"),
    ({"data": FORM, "files": {"file": (None, "not a file")}}, "missing_required_parameter", "file"),
    ({"data": FORM, "files": {**recording(), "x": ("x", b"")}}, "unsupported_parameter", "x"),
    ({"data": {**FORM, "x": "1"}, "files": recording()}, "unsupported_parameter", "x"),
    ({"data": {**FORM, "language": "xx"}, "files": recording()}, "invalid_options", None),
    ({"data": FORM, "files": recording("a.exe")}, "invalid_format", "file"),
    ({"data": FORM, "files": recording("a")}, "invalid_format", "file"),
    ({"json": FORM}, "unsupported_media_type", None),
    ({}, "unsupported_media_type", None),
    (
        {"content": b"--b\r\nContent-Disp", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        "malformed_request",
        None,
    ),
]


async def test_invalid_requests_are_400_with_the_parameter_and_make_no_smelt(owner: httpx.AsyncClient) -> None:
    for request, code, parameter in INVALID:
        assert_error(await owner.post(PATH, **request), 400, code, parameter)
    assert await listed(owner) == []


async def test_errors_under_v1_have_the_shape_of_openai_and_others_have_not(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient, as_caller: Open, shared_stack: Stack
) -> None:
    for caller in (visitor, as_caller(shared_stack.anon_key)):
        assert_error(await caller.post(PATH, files=recording(), data=FORM), 401, "sign_in_required")
    rejected = await as_caller("no token").post(PATH, files=recording(), data=FORM)
    assert_error(rejected, 401, "unauthorized")
    assert rejected.headers["www-authenticate"] == "Bearer"
    assert_error(await owner.get("/v1/chat/completions"), 404, "not_found")
    assert_error(await owner.get("/v1"), 404, "not_found")
    assert_error(await owner.get(PATH), 405, "method_not_allowed")
    assert_error(await owner.post(f"{PATH}?token=x"), 403, "forbidden")
    assert (await owner.get("/v2")).json()["code"] == "not_found"


async def test_limits_are_429_with_retry_after(
    shared_stack: Stack, user: User, owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    headers = {"Authorization": f"Bearer {user.access_token}"}
    with running_gateway(options_for(shared_stack, max_streams_per_caller=1, max_upload_bytes=4096)) as small:
        async with httpx.AsyncClient(base_url=small.url, headers=headers, timeout=60) as http:
            waiting = asyncio.create_task(http.post(PATH, files=recording(), data=FORM))
            job = await claimed(owner, scripted_worker)
            response = await http.post(PATH, files=recording(), data=FORM)
            assert_error(response, 429, "too_many_requests")
            assert response.headers["retry-after"]
            await complete(job)
            await waiting
            large = {"file": ("a.wav", b"\0" * 8192)}
            assert_error(await http.post(PATH, files=large, data=FORM), 413, "body_too_large")
