"""`smelt show` prints the state of an unfinished smelt, and `smelt delete` asks for confirmation."""

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from smelt.backend.retries import without_waiting
from smelt.errors import NotFound
from smelt.subscriber.client import Client, connect
from tests.harness.proxies import PIECE_BYTES, FaultyProxy, Kind
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User

ROOT = Path(__file__).parents[3]
FORMATS = ["md", "txt", "srt", "vtt", "json"]


class LosingProxy(FaultyProxy):
    """Loses the response to the first request: it resets the connection once the response has begun."""

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Kind) -> None:
        if self.accepted["rest"] == 1:
            await reader.read(PIECE_BYTES)
        else:
            await super()._pass(reader, writer, kind)


@pytest.fixture
def env(shared_stack: Stack, user: User, tmp_path: Path) -> dict[str, str]:
    home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    project = {"SUPABASE_URL": shared_stack.api_url, "SUPABASE_ANON_KEY": shared_stack.anon_key}
    return {**home, **project, "SMELT_ACCESS_TOKEN": user.access_token}


async def smelt(env: dict[str, str], *arguments: str, stdin: int = subprocess.DEVNULL) -> tuple[int | None, str, str]:
    """Run a command; return its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "smelt", *arguments),
        env=env,
        cwd=env["HOME"],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("form", FORMATS)
async def test_show_of_a_pending_smelt_prints_its_status_in_every_format(
    client: Client, env: dict[str, str], form: str
) -> None:
    created = await client.create(text="Ship it on Monday.")
    code, out, err = await smelt(env, "show", str(created.id), "--format", form)
    assert (code, out) == (2, "")
    assert "it is still pending" in err
    await client.cancel(created.id)
    code, out, err = await smelt(env, "show", str(created.id), "--format", form)
    assert (code, out) == (2, "")
    assert "The smelt was cancelled." in err


async def test_show_of_a_smelt_with_several_files_names_the_option_that_selects_one(
    client: Client, env: dict[str, str], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.wav", "b.wav")]
    for file in files:
        file.write_bytes(b"RIFF")
    created = await client.create(files=files)
    for number in ([], ["--file", "3"]):
        code, out, err = await smelt(env, "show", str(created.id), "--format", "txt", *number)
        assert (code, out) == (2, "")
        assert "`--file 1`" in err


@pytest.mark.parametrize("form", FORMATS)
async def test_show_of_a_running_smelt_prints_the_transcript_so_far(
    client: Client, scripted_worker: ScriptedWorker, env: dict[str, str], form: str
) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    await job.report("transcribing", 40, words=["monday"])
    code, out, err = await smelt(env, "show", str(created.id), "--format", form)
    assert "it is still transcribing (40 %)" in err
    assert (code, "monday" in out) == ((2, False) if form == "md" else (0, True))
    await job.complete("the notes")
    code, out, err = await smelt(env, "show", str(created.id), "--format", form)
    assert (code, err) == (0, "")


async def test_delete_needs_no_confirmation_in_a_pipe(client: Client, env: dict[str, str]) -> None:
    created = await client.create(text="Ship it on Monday.")
    code, out, err = await smelt(env, "delete", str(created.id), "--json")
    assert (code, json.loads(out), err) == (0, {"event": "deleted", "id": str(created.id)}, "")
    with pytest.raises(NotFound):
        await client.get(created.id)
    code, out, _ = await smelt(env, "delete", str(created.id), "--json")
    assert (code, json.loads(out)["code"]) == (2, "not_found")


async def test_delete_whose_response_is_lost_succeeds_and_is_rejected_when_repeated(
    client: Client, shared_stack: Stack, user: User
) -> None:
    created = await client.create(text="Ship it on Monday.")
    proxy = LosingProxy(shared_stack.api_url)
    async with contextlib.AsyncExitStack() as ending:
        ending.push_async_callback(proxy.close)
        await proxy.start()
        app = await ending.enter_async_context(connect(proxy.url, shared_stack.anon_key, user.access_token))
        with without_waiting():
            await app.delete(created.id)
        assert proxy.requests["/rest/v1/rpc/delete_smelt"] == 2
        with pytest.raises(NotFound):
            await app.delete(created.id)


async def delete_on_a_terminal(env: dict[str, str], smelt_id: UUID, reply: bytes, *options: str) -> int | None:
    terminal, end = pty.openpty()
    try:
        os.write(terminal, reply)
        return (await smelt(env, "delete", str(smelt_id), *options, stdin=end))[0]
    finally:
        os.close(end)
        os.close(terminal)


async def test_delete_asks_for_confirmation_on_a_terminal(client: Client, env: dict[str, str]) -> None:
    created = await client.create(text="Ship it on Monday.")
    assert await delete_on_a_terminal(env, created.id, b"n\n") == 1
    assert (await client.get(created.id)).status == "pending"
    assert await delete_on_a_terminal(env, created.id, b"y\n") == 0
    with pytest.raises(NotFound):
        await client.get(created.id)
    again = await client.create(text="Ship it on Monday.")
    assert await delete_on_a_terminal(env, again.id, b"", "--yes") == 0
