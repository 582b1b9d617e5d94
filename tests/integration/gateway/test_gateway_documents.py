"""Downloads change nothing but text, and read-only tokens read one smelt."""

import json
import re
import time
from typing import Final
from urllib.parse import unquote
from uuid import UUID, uuid4

import httpx
import pytest

from smelt.gateway.downloads import content_disposition, named_after
from smelt.gateway.tokens import LIFETIME_S, ReadTokens
from tests.harness.gateways import SIGNING_KEY, http_client, options_for, running_gateway
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack

HOSTILE: Final = (
    "<script>alert(1)</script>",
    "<b>&amp;</b> [x](javascript:alert(1))",
    "\x1b[2J\x1b]0;title\x07",
    "\u202etxt.exe\u2066",
    "00:00:01,000 --> 00:00:02,000",
    "x" * 100_000,
)


async def completed(owner: httpx.AsyncClient, worker: ScriptedWorker, *words: str, notes: str = "# Notes") -> str:
    """Return a completed smelt with a segment for each of the words."""
    smelt_id = str((await owner.post("/api/smelts", json={"text": "Ship it."})).json()["id"])
    job = await worker.claim(UUID(smelt_id))
    await job.report("synthesizing", 75, words=words)
    await job.complete(notes)
    return smelt_id


async def test_downloads_have_their_type_and_keep_hostile_text(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    notes = "\n".join(HOSTILE)
    path = f"/api/smelts/{await completed(owner, scripted_worker, *HOSTILE, notes=notes)}"
    types = {
        "transcript.txt": "text/plain; charset=utf-8",
        "transcript.srt": "application/x-subrip; charset=utf-8",
        "transcript.vtt": "text/vtt; charset=utf-8",
        "transcript.json": "application/json",
        "results.md": "text/markdown; charset=utf-8",
    }
    bodies = {}
    for name, media_type in types.items():
        response = await owner.get(f"{path}/{name}")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == media_type
        assert response.headers["content-disposition"].startswith("attachment; ")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
        bodies[name] = response.content.decode()
    assert bodies["transcript.txt"] == "".join(f"{text}\n" for text in HOSTILE)
    assert [segment["text"] for segment in json.loads(bodies["transcript.json"])["segments"]] == list(HOSTILE)
    assert "&lt;script&gt;" in bodies["transcript.vtt"]
    assert notes in bodies["results.md"]
    state = (await owner.get(path)).json()
    assert [segment["text"] for segment in state["segments"]] == list(HOSTILE)


NAMES: Final = {
    "Besprechung Müller.wav": "Besprechung Müller.txt",
    '"; filename=evil.exe".wav': '"; filename=evil.exe".txt',
    "..\\..\\etc/passwd.wav": "passwd.txt",
    "\u202egpj.wav": "gpj.txt",
    "<script>.wav": "<script>.txt",
    "100%25.wav": "100%25.txt",
}


@pytest.mark.parametrize("name", NAMES)
async def test_downloads_are_named_after_the_file_by_rfc_6266(owner: httpx.AsyncClient, name: str) -> None:
    created = (await owner.post("/api/smelts", json={"files": [{"filename": name, "size_bytes": 1}]})).json()
    assert created["files"][0]["filename"] == name
    header = content_disposition(named_after(name, "txt"))
    found = re.fullmatch(r"""attachment; filename="([^"\\]*)"; filename\*=UTF-8''([\w.~%-]+)""", header, re.ASCII)
    assert found is not None, header
    assert unquote(found[2]) == NAMES[name]


async def test_downloads_need_a_file_number_if_there_are_several(owner: httpx.AsyncClient) -> None:
    files = [{"filename": f"{n}.wav", "size_bytes": 1} for n in range(2)]
    path = f"/api/smelts/{(await owner.post('/api/smelts', json={'files': files})).json()['id']}"
    for query, status, code in (
        ("", 400, "which_file"),
        ("?file=3", 400, "which_file"),
        ("?file=2", 409, "not_transcribed"),
    ):
        response = await owner.get(f"{path}/transcript.txt{query}")
        assert (response.status_code, response.json()["code"]) == (status, code)
    response = await owner.get(f"{path}/results.md")
    assert (response.status_code, response.json()["code"]) == (409, "not_completed")
    assert (await owner.get(f"{path}/transcript.exe")).status_code == 422


async def test_read_only_token_reads_its_smelt_without_a_sign_in(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    path = f"/api/smelts/{await completed(owner, scripted_worker, 'hello')}"
    assert (await visitor.get(path)).status_code == 404
    issued = await owner.post(f"{path}/token")
    assert issued.status_code == 201
    token = {"token": issued.json()["token"]}
    for name in ("", "/transcript.txt", "/transcript.json", "/results.md"):
        assert (await visitor.get(f"{path}{name}", params=token)).status_code == 200
    for action in ("cancel", "retry", "submit", "token"):
        assert (await visitor.post(f"{path}/{action}", params=token)).status_code == 403
    assert (await visitor.delete(path, params=token)).status_code == 403
    assert (await visitor.get("/api/smelts", params=token)).status_code == 403
    other = await completed(owner, scripted_worker, "hello")
    assert (await visitor.get(f"/api/smelts/{other}", params=token)).status_code == 403
    assert (await visitor.post(f"{path}/token")).status_code == 404


async def test_read_only_token_is_rejected_if_forged_or_expired(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = UUID(await completed(owner, scripted_worker, "hello"))
    expired, _ = ReadTokens([SIGNING_KEY]).issue(smelt_id, time.time() - LIFETIME_S - 1)
    foreign, _ = ReadTokens(["another signing key of 32 bytes!!"]).issue(smelt_id, time.time())
    for token, code in (
        (expired, "token_expired"),
        (foreign, "unauthorized"),
        ("", "unauthorized"),
        ("é\ud7ff.1.x", "unauthorized"),
        (expired.replace(expired.split(".")[1], str(int(time.time()) + 900)), "unauthorized"),
    ):
        response = await visitor.get(f"/api/smelts/{smelt_id}", params={"token": token})
        assert (response.status_code, response.json()["code"]) == (401, code)


async def test_read_only_tokens_without_signing_keys_are_not_configured(
    owner: httpx.AsyncClient, shared_stack: Stack
) -> None:
    smelt_id = (await owner.post("/api/smelts", json={"text": "a"})).json()["id"]
    for without in ({"signing_keys": ()}, {"secret_key": None}):
        with running_gateway(options_for(shared_stack, **without)) as gateway:
            async with http_client(gateway.url, owner.headers) as http:
                for response in (
                    await http.post(f"/api/smelts/{smelt_id}/token"),
                    await http.get(f"/api/smelts/{smelt_id}?token=x"),
                ):
                    assert (response.status_code, response.json()["code"]) == (404, "not_configured")
                assert (await http.get("/config.json")).json()["read_tokens"] is False
                assert (await http.get(f"/api/smelts/{smelt_id}")).status_code == 200


async def test_read_only_token_of_a_smelt_that_does_not_exist_is_not_issued(owner: httpx.AsyncClient) -> None:
    assert (await owner.post(f"/api/smelts/{uuid4()}/token")).status_code == 404
