"""TUS clients, and smelt's page in Chromium, upload 20 MiB through a cut and a restart of the gateway."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiotus
import httpx
import pytest

from smelt.distribution import supabase_folder
from smelt.local import LocalStack
from tests.harness.processes import kill_session
from tests.harness.proxies import CountingProxy, counting_proxy
from tests.harness.stacks import POSTGREST
from tests.integration.local.stack_projects import write_project

JS = Path(__file__).parents[2] / "js"
MIB = 1024 * 1024
SIZE_BYTES = 20 * MIB
PIECE_BYTES = 6 * MIB
TIMEOUT_S = 60.0
BUCKET = "insert into storage.buckets (id, name) values ('box', 'box');"


@dataclass
class Setting:
    """A stack behind a proxy, which cuts the connection once and restarts the gateway once."""

    proxy: CountingProxy
    stack: LocalStack
    folder: Path
    recording: Path


@asynccontextmanager
async def _setting(folder: Path, project: Path) -> AsyncIterator[Setting]:
    recording = folder / "recording.webm"
    recording.write_bytes(os.urandom(SIZE_BYTES))

    def new(port: int = 0) -> LocalStack:
        return LocalStack(folder / "stack", migrations=project, api_port=port, postgrest=POSTGREST)

    stack = new()
    await stack.__aenter__()
    port = urlsplit(stack.api_url).port or 0
    try:
        async with counting_proxy(stack.api_url) as proxy:
            setting = Setting(proxy, stack, folder, recording)

            async def cut() -> None:
                proxy.cut()

            async def restart() -> None:
                await setting.stack.__aexit__(None, None, None)
                setting.stack = new(port)
                await setting.stack.__aenter__()

            proxy.faults = [(8 * MIB, cut), (15 * MIB, restart)]
            yield setting
    finally:
        await setting.stack.__aexit__(None, None, None)


async def _run_node(setting: Setting, *arguments: str | Path, lines: str = "") -> str:
    environment = {
        **os.environ,
        "SUPABASE_URL": setting.proxy.url,
        "SUPABASE_ANON_KEY": setting.stack.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": setting.stack.service_role_key,
    }
    process = await asyncio.create_subprocess_exec(
        *("node", *arguments),
        cwd=JS,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(lines.encode()), TIMEOUT_S)
    finally:
        if process.returncode is None:
            kill_session(process.pid)
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def _upload_with_node(setting: Setting) -> None:
    await _run_node(setting, "resumable.mjs", setting.recording, "box", "a.webm")


async def _upload_with_python(setting: Setting) -> None:
    with setting.recording.open("rb") as stream:
        url = await aiotus.upload(
            f"{setting.proxy.url}/storage/v1/upload/resumable",
            stream,
            {"bucketName": b"box", "objectName": b"a.webm", "contentType": b"audio/webm", "cacheControl": b"3600"},
            headers={"authorization": f"Bearer {setting.stack.service_role_key}"},
            config=aiotus.RetryConfiguration(retry_attempts=100, max_retry_period_seconds=0.2),
            chunksize=PIECE_BYTES,
        )
    assert url is not None


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # Of aiohttp, about aiotus.
@pytest.mark.parametrize("client", ["tus-js-client", "aiotus"])
async def test_resumable_upload_of_a_client_survives_a_cut_and_a_restart(client: str, tmp_path: Path) -> None:
    """The client creates one upload, and the object has its bytes."""
    if client == "tus-js-client" and (shutil.which("node") is None or not (JS / "node_modules").exists()):
        pytest.skip("run `npm install` in tests/js")
    project = write_project(tmp_path / "supabase", BUCKET)
    async with _setting(tmp_path, project) as setting, asyncio.timeout(TIMEOUT_S):
        await {"tus-js-client": _upload_with_node, "aiotus": _upload_with_python}[client](setting)
        assert not setting.proxy.faults
        assert setting.proxy.requests["/storage/v1/upload/resumable"] == 1, "the upload was not resumed"
        headers = {"apikey": setting.stack.secret_key}
        async with httpx.AsyncClient(base_url=f"{setting.stack.api_url}/storage/v1", headers=headers) as http:
            stored = await http.get("/object/box/a.webm")
        assert stored.headers["content-type"] == "audio/webm"
        assert stored.content == setting.recording.read_bytes()
        assert not list((tmp_path / "stack" / "storage" / ".resumable").glob("*.bytes"))


@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="run `apt-get install chromium`")
@pytest.mark.skipif(not (JS / "node_modules").exists(), reason="run `npm install` in tests/js")
async def test_upload_of_a_page_goes_on_after_a_cut_and_a_restart(tmp_path: Path) -> None:
    """`<smelt-upload>` creates one upload, and sends at most one piece again for each fault."""
    async with _setting(tmp_path, supabase_folder()) as setting, asyncio.timeout(TIMEOUT_S):
        output = await _run_node(setting, "elements/uploader.mjs", lines=f"{setting.recording}\n")
        outcome = json.loads(output.splitlines()[-1])
        assert "error" not in outcome, outcome
        assert not setting.proxy.faults
        assert setting.proxy.requests["/storage/v1/upload/resumable"] == 1, "the upload was not resumed"
        assert setting.proxy.passed_bytes < SIZE_BYTES + 2 * PIECE_BYTES + MIB
        headers = {"apikey": setting.stack.secret_key}
        async with httpx.AsyncClient(base_url=f"{setting.stack.api_url}/storage/v1", headers=headers) as http:
            stored = await http.get(f"/object/smelt-audio/{outcome['upload_path']}")
        assert stored.content == setting.recording.read_bytes()
