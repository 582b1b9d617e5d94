"""Official and well-kept TUS clients upload 20 MiB through a cut and a restart of the gateway."""

import asyncio
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
from proxies import CountingProxy, counting_proxy
from stack_projects import write_project

from smelt.local import LocalStack
from smelt.local.launching import postgrest_from_env

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
async def _setting(folder: Path) -> AsyncIterator[Setting]:
    recording = folder / "recording.webm"
    recording.write_bytes(os.urandom(SIZE_BYTES))
    project = write_project(folder / "supabase", BUCKET)

    def new(port: int = 0) -> LocalStack:
        return LocalStack(folder / "stack", migrations=project, api_port=port, postgrest=postgrest_from_env())

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


async def _upload_with_node(setting: Setting) -> None:
    environment = {
        **os.environ,
        "SUPABASE_URL": setting.proxy.url,
        "SUPABASE_SERVICE_ROLE_KEY": setting.stack.service_role_key,
    }
    process = await asyncio.create_subprocess_exec(
        *("node", "resumable.mjs", setting.recording, "box", "a.webm"),
        cwd=JS,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()


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
    async with _setting(tmp_path) as setting, asyncio.timeout(TIMEOUT_S):
        await {"tus-js-client": _upload_with_node, "aiotus": _upload_with_python}[client](setting)
        assert not setting.proxy.faults
        assert setting.proxy.requests["/storage/v1/upload/resumable"] == 1, "the upload was not resumed"
        headers = {"apikey": setting.stack.secret_key}
        async with httpx.AsyncClient(base_url=f"{setting.stack.api_url}/storage/v1", headers=headers) as http:
            stored = await http.get("/object/box/a.webm")
        assert stored.headers["content-type"] == "audio/webm"
        assert stored.content == setting.recording.read_bytes()
        assert not list((tmp_path / "stack" / "storage" / ".resumable").glob("*.bytes"))
