"""OpenAI's audio API with a scripted worker: formats, repeated requests, waiting, streams, and errors."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from gateways import Open, RunningGateway, options_for, running_gateway
from httpx_sse import aconnect_sse
from scripted_worker import Job, ScriptedWorker
from stacks import Stack, User
from waiting import until

PATH = "/v1/audio/transcriptions"
FORM = {"model": "whisper-1"}
WORDS = ("One", "two.", "Three.")
TEXT = "One two. Three."


def recording(name: str = "a.wav") -> dict[str, tuple[str, bytes]]:
    """Return a small recording whose bytes no other one has."""
    return {"file": (name, b"RIFF\x24\x00\x00\x00WAVEfmt " + uuid4().bytes)}


async def listed(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return the smelts of a caller."""
    smelts: list[dict[str, Any]] = (await http.get("/api/smelts")).json()["smelts"]
    return smelts


async def claimed(http: httpx.AsyncClient, worker: ScriptedWorker, count: int = 1) -> Job:
    """Claim the newest smelt of a caller once there are `count` ones, and it is submitted."""
    async with asyncio.timeout(30):
        while len(smelts := await listed(http)) < count:
            await asyncio.sleep(0.05)
    return await worker.claim(UUID(smelts[0]["id"]))


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


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
async def test_transcription_has_the_requested_format(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, response_format: str
) -> None:
    form = {**FORM, "response_format": response_format}
    waiting = asyncio.create_task(owner.post(PATH, files=recording(), data=form))
    job = await claimed(owner, scripted_worker)
    await complete(job)
    response = await waiting
    assert response.status_code == 200, response.text
    assert response.headers["x-smelt-id"] == str(job.claim.id)
    usage = {"type": "duration", "seconds": 3.5}
    match response_format:
        case "json":
            assert response.json() == {"text": TEXT, "usage": usage}
        case "text":
            assert response.text == f"{TEXT}\n"
        case "srt":
            assert response.text.startswith("1\n00:00:00,000 --> ")
        case "vtt":
            assert response.text.startswith("WEBVTT\n")
        case _:
            segments = [{"id": n, "start": n, "end": n + 1, "text": word} for n, word in enumerate(WORDS)]
            assert response.json() == {
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
    form = {
        **FORM,
        "language": "de",
        "prompt": "Ada Lovelace, Smelt",
        "keywords[]": ["Turing"],
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
        "vocabulary": ["Ada Lovelace", "Smelt", "Turing"],
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


async def test_request_after_a_failed_one_makes_a_new_smelt_and_one_after_24_hours_as_well(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recording()
    smelt_ids = set()
    for count, code in enumerate(("internal_error", "corrupted_file"), start=1):
        waiting = asyncio.create_task(owner.post(PATH, files=files, data=FORM))
        await (await claimed(owner, scripted_worker, count)).fail(code)  # type: ignore[arg-type]
        smelt_ids.add((await waiting).headers["x-smelt-id"])
    assert len(smelt_ids) == 2
