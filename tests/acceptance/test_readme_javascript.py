"""The JavaScript examples of the READMEs run as printed; the first loses no segment of a transcript and no error."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from smelt.backend.project import Project
from smelt.contract.channels import smelt_channel
from tests.acceptance.commands import ROOT, environment, shell, worker
from tests.acceptance.gateway_process import gateway_process
from tests.harness.documents import code_for
from tests.harness.gateways import SIGNING_KEY
from tests.harness.processes import run
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.scripted_worker import Job, ScriptedWorker
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import until

JS = ROOT / "tests" / "js"
RECORDING = ROOT / "tests" / "recordings" / "action_item.m4a"
PACKAGE = (ROOT / "smelt" / "web" / "index.js").as_uri()
[EXAMPLE] = code_for("test_readme_javascript_shows_the_results_of_a_worker")
# The names that the example uses: the project, a file, and two functions that render.
GIVEN = """
import { readFile } from 'node:fs/promises'
import WebSocket from 'ws'
globalThis.WebSocket ??= WebSocket
const print = (line) => console.log(JSON.stringify(line))
const { SUPABASE_URL, SUPABASE_ANON_KEY, RECORDING, FILENAME, ANNOUNCED_TOO_MUCH } = process.env
const content = await readFile(RECORDING)
const file = new File([content], FILENAME)
let size = content.length + Number(ANNOUNCED_TOO_MUCH)
Object.defineProperty(file, 'size', { get: () => { const announced = size; size = content.length; return announced } })
const renderUpload = (uploaded) => print({ uploaded })
const render = ({ id, status, progress, results, segments, connection: { error } }) => print({
  state: { id, status, progress, results },
  lines: Object.values(segments).flat().map(({ text }) => text),
  error: error && { code: error.code, message: error.message },
})
"""
# Without this the socket stays open for 50 s after its last channel was removed.
AFTERWARDS = "await supabase.realtime.disconnect()"
# The names that the examples of the package use.
GIVEN_TO_PACKAGE = """
import { readFile } from 'node:fs/promises'
import WebSocket from 'ws'
import { createClient } from '@supabase/supabase-js'
import { subscribeToSmelt } from 'smelt-js'
globalThis.WebSocket ??= WebSocket
const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_ANON_KEY)
const files = [new File([await readFile(process.env.RECORDING)], 'meeting.m4a')]
const seen = { uploads: [], texts: [], percentages: [] }
const onUpload = ({ totalLoaded }) => seen.uploads.push(totalLoaded)
const { signal } = new AbortController()
const append = (_, segments) => seen.texts.push(...segments.map(({ text }) => text))
const show = (percentage) => seen.percentages.push(percentage)
"""
# The callbacks of the example are empty; this one ends the program.
GIVEN_TO_CALLBACKS = """
const { id } = job
const completed = new Promise((resolve) => subscribeToSmelt(supabase, id, { onCompleted: resolve }))
"""
AFTER_CALLBACKS = """
console.log(JSON.stringify({ ...seen, results, again: (await completed).results }))
await supabase.realtime.disconnect()
"""
GIVEN_TO_GATEWAY = """
const session = { access_token: process.env.TOKEN }
"""
BEFORE_SHARING = """
const { id, done } = await smelt.create({ text: 'Ship it on Monday.', prompts: ['summarize'] })
await done
const headers = { authorization: `Bearer ${session.access_token}` }
const issued = await fetch(`${process.env.GATEWAY}/api/smelts/${id}/token`, { method: 'POST', headers })
const { token: readToken } = await issued.json()
const show = ({ type, results }) => type === 'completed' && console.log(results[0].content)
"""
# A server that acts for a user; the example of the database's README names the client `supabase`, and a file.
GIVEN_TO_SERVER = """
import { readFile } from 'node:fs/promises'
import WebSocket from 'ws'
import { createClient } from '@supabase/supabase-js'
import { connectSmelt } from 'smelt-js'
const { SUPABASE_URL, SUPABASE_ANON_KEY, TOKEN, RECORDING } = process.env
const realtime = { transport: WebSocket }
const supabase = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, { accessToken: async () => TOKEN, realtime })
const file = new File([await readFile(RECORDING)], 'meeting.m4a')
"""
AFTER_SERVER = """
const text = await connectSmelt({ supabase }).create({ text: 'Ship it on Monday.', userPromptId: prompt.id })
const columns = 'id, status, submitted_at, user_prompt_id'
const { data: smelts } = await supabase.from('smelts').select(columns).order('created_at')
console.log(JSON.stringify({ smelts, created: [smelt.id, text.id], prompt: prompt.id }))
"""
LINES = [f"line {number}" for number in range(240)]

pytestmark = [
    pytest.mark.own_project("whose only worker is the one of the test"),
    pytest.mark.skipif(
        shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
    ),
]


def in_checkout(program: str) -> str:
    """Return a program that imports the package from this checkout."""
    return program.replace("'smelt-js'", f"'{PACKAGE}'")


class Page:
    """The example in a separate process, with its output so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.uploaded = 0.0
        self.states: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.errors: list[dict[str, Any]] = []
        self._process = process
        self._reading = asyncio.create_task(self._read())

    @property
    def smelt_id(self) -> UUID:
        return UUID(next(state["id"] for state in self.states if "id" in state))

    @property
    def messages(self) -> list[str]:
        return [state["progress"]["message"] for state in self.states if state["progress"]]

    async def end(self, exit_code: int = 0) -> str:
        """Wait until the process exits by itself; return its stderr."""
        assert self._process.stderr is not None
        async with asyncio.timeout(30):
            stderr = (await self._process.stderr.read()).decode()
            await self._reading
            assert await self._process.wait() == exit_code, stderr
        return stderr

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            match json.loads(line):
                case {"uploaded": uploaded}:
                    self.uploaded = uploaded
                case {"state": state, "lines": lines, "error": error}:
                    self.states.append(state)
                    self.lines = lines
                    if error is not None:
                        self.errors.append(error)


@asynccontextmanager
async def example(
    url: str, stack: Stack, *, filename: str = "meeting.m4a", announced_too_much: int = 0
) -> AsyncIterator[Page]:
    """Run the example with a recording; yield the page."""
    given = {
        "SUPABASE_URL": url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "RECORDING": str(RECORDING),
        "FILENAME": filename,
        "ANNOUNCED_TOO_MUCH": str(announced_too_much),
    }
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "--eval", in_checkout(f"{GIVEN}{EXAMPLE}{AFTERWARDS}")),
        cwd=JS,
        env=environment(given),
        stdout=PIPE,
        stderr=PIPE,
        limit=1 << 20,
    )
    page = Page(process)
    try:
        yield page
    finally:
        await page.kill()


@pytest.fixture
async def proxy(fresh_stack: Stack) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(fresh_stack.api_url) as running:
        yield running


@pytest.fixture
async def service(fresh_stack: Stack) -> AsyncIterator[Project]:
    async with Project(fresh_stack.api_url, fresh_stack.service_role_key) as project:
        yield project


@pytest.fixture
def scripted_worker(service: Project) -> ScriptedWorker:
    return ScriptedWorker(service)


async def emit(job: Job, first: int, last: int) -> None:
    """Write and broadcast some of the lines."""
    for start in range(first, last, 10):
        await job.report("transcribing", 20 + start / 6, words=LINES[start : min(start + 10, last)], first=start)


async def assert_followed_to_the_end(page: Page) -> None:
    """Assert that all lines and one end were rendered, that no percentage decreased, and that the process exited."""
    await page.end()
    assert page.lines == LINES
    percentages = [state["progress"]["percentage"] for state in page.states if state["progress"]]
    assert percentages == sorted(percentages)
    assert page.states[-1]["status"] == "completed"
    assert page.states[-1]["results"][0]["content"] == "notes"


async def test_readme_javascript_shows_the_results_of_a_worker(fresh_stack: Stack, tmp_path: Path) -> None:
    with worker(fresh_stack.env(), tmp_path / "worker.log"):
        async with example(fresh_stack.api_url, fresh_stack) as page:
            await page.end()
    assert page.states[-1]["status"] == "completed"
    assert "Lisa" in page.states[-1]["results"][0]["content"]
    assert len(page.lines) == 1
    assert (page.uploaded, page.errors) == (1, [])


def test_javascript_package_installs_as_printed(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    # The peer dependencies are those of the app.
    npm = {"offline": "true", "legacy_peer_deps": "true", "audit": "false", "cache": str(tmp_path / "cache")}
    env = {f"npm_config_{name}": value for name, value in npm.items()}
    for commands in code_for("test_javascript_package_installs_as_printed"):
        done = shell(commands, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    names = ("'smelt-js'", "'smelt-js/query'", "'smelt-js/elements'", "'./src/smelt/index.js'")
    imports = ";".join(f"import {name}" for name in names)
    done = run(["node", "--input-type=module", "--eval", imports], cwd=tmp_path, env=environment({}))
    assert done.returncode == 0, done.stderr


def node(program: str, env: dict[str, str]) -> str:
    """Run a program; return its output."""
    done = run(["node", "--input-type=module", "--eval", in_checkout(program)], cwd=JS, env=environment(env))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_web_readme_examples_run_with_supabase_js(fresh_stack: Stack, tmp_path: Path) -> None:
    watching, callbacks = code_for("test_web_readme_examples_run_with_supabase_js")
    program = f"{GIVEN_TO_PACKAGE}{watching}{GIVEN_TO_CALLBACKS}{callbacks}{AFTER_CALLBACKS}"
    env = {"SUPABASE_URL": fresh_stack.api_url, "SUPABASE_ANON_KEY": fresh_stack.anon_key}
    with worker(fresh_stack.env(), tmp_path / "worker.log"):
        seen = json.loads(node(program, {**env, "RECORDING": str(RECORDING)}))
    assert "action item" in " ".join(seen["texts"]).lower()
    assert seen["percentages"] == sorted(seen["percentages"])
    assert seen["uploads"][-1] == RECORDING.stat().st_size
    assert "Lisa" in seen["results"][0]["content"]
    assert seen["again"] == seen["results"]


def test_database_readme_example_runs_with_supabase_js(fresh_stack: Stack) -> None:
    creating, writing = code_for("test_database_readme_example_runs_with_supabase_js")
    program = f"{GIVEN_TO_SERVER}{creating}{writing}{AFTER_SERVER}"
    env = {"SUPABASE_URL": fresh_stack.api_url, "SUPABASE_ANON_KEY": fresh_stack.anon_key}
    seen = json.loads(node(program, {**env, "TOKEN": sign_up(fresh_stack).access_token, "RECORDING": str(RECORDING)}))
    assert [smelt["id"] for smelt in seen["smelts"]] == seen["created"]
    assert all(smelt["status"] == "pending" and smelt["submitted_at"] for smelt in seen["smelts"])
    assert [smelt["user_prompt_id"] for smelt in seen["smelts"]] == [None, seen["prompt"]]


def test_web_readme_examples_run_over_a_gateway(fresh_stack: Stack, tmp_path: Path) -> None:
    connecting, sharing = code_for("test_web_readme_examples_run_over_a_gateway")
    env = {**fresh_stack.env(), "SMELT_SIGNING_KEYS": SIGNING_KEY}
    with worker(env, tmp_path / "log"), gateway_process(env, tmp_path / "gateway.log") as gateway:
        program = f"{GIVEN_TO_GATEWAY}{connecting}{BEFORE_SHARING}{sharing}"
        program = program.replace("'https://smelt.example.com/smelt.js'", "'smelt-js'")
        program = program.replace("https://smelt.example.com", gateway.url)
        printed = node(program, {"GATEWAY": gateway.url, "TOKEN": sign_up(fresh_stack).access_token})
    assert "Ship it on Monday" in printed


async def test_outage_loses_no_line(
    fresh_stack: Stack, proxy: FaultyProxy, scripted_worker: ScriptedWorker, service: Project
) -> None:
    """The gateway is down until polling has failed twice (5 s); most lines are written meanwhile."""
    async with example(proxy.url, fresh_stack) as page:
        await until(lambda: page.states)
        job = await scripted_worker.claim(page.smelt_id)
        await until(lambda: proxy.accepted["realtime"])
        await emit(job, 0, 40)
        await until(lambda: page.lines == LINES[:40])
        stale = {"seq": 1, "status": "pending", "progress": {"percentage": 0}}
        await service.realtime.post(smelt_channel(str(page.smelt_id)), "progress", stale)
        await emit(job, 40, 53)
        await until(lambda: page.lines == LINES[:53])
        await proxy.stop()
        await emit(job, 53, 200)
        await until(lambda: sum("fetch failed" in error["message"] for error in page.errors) >= 2)
        assert page.lines == LINES[:53]
        await proxy.start()
        await until(lambda: page.lines == LINES[:200])
        await emit(job, 200, 240)
        await job.complete()
        await assert_followed_to_the_end(page)


async def test_polling_without_realtime_brings_every_line(
    fresh_stack: Stack, proxy: FaultyProxy, scripted_worker: ScriptedWorker
) -> None:
    proxy.reject("realtime")
    async with example(proxy.url, fresh_stack) as page:
        await until(lambda: page.messages)
        assert page.messages[0] == "Waiting for a worker: none is running."
        job = await scripted_worker.claim(page.smelt_id)
        await emit(job, 0, 200)
        await until(lambda: page.lines == LINES[:200])
        await emit(job, 200, 240)
        await job.complete()
        await assert_followed_to_the_end(page)


@pytest.mark.parametrize(
    ("given", "change", "error"),
    [
        ({"filename": "meeting.exe"}, "select", "invalid_format"),
        ({}, 'drop policy "smelt: upload announced files" on storage.objects', "violates row-level security policy"),
        ({"announced_too_much": -1}, "select", "violates row-level security policy"),
        # A Storage that stores more than announced: the submission finds it.
        ({"announced_too_much": -1}, "drop function smelt.check_object() cascade", "file_too_large"),
    ],
    ids=["create", "upload", "size", "submit"],
)
async def test_rejections_of_create_upload_and_submit_are_thrown(
    given: dict[str, Any], change: str, error: str, fresh_stack: Stack
) -> None:
    with psycopg.connect(fresh_stack.db_url, autocommit=True) as owner:
        owner.execute(change.encode())
    async with example(fresh_stack.api_url, fresh_stack, **given) as page:
        assert error in await page.end(exit_code=1)
    assert page.states == []


async def test_deletion_of_the_smelt_ends_the_example_with_not_found(fresh_stack: Stack, proxy: FaultyProxy) -> None:
    proxy.reject("realtime")
    async with example(proxy.url, fresh_stack) as page:
        await until(lambda: page.states)
        with psycopg.connect(fresh_stack.db_url, autocommit=True) as owner:
            owner.execute("delete from public.smelts where id = %s", [page.smelt_id])
        assert "not_found" in await page.end(exit_code=1)
