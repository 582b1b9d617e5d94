"""`smelt watch` prints the progress of a smelt and the state of the connection, for people and programs."""

import asyncio
import json
import os
import shlex
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from smelt.contract.events import parse_event
from smelt.subscriber.client import Client
from tests.harness.processes import END_TIMEOUT_S, kill_session
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

ROOT = Path(__file__).parents[3]
UNREACHABLE_URL = "http://127.0.0.1:9"


class Command:
    """`smelt watch` in a subprocess, and its output so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = ""
        self.errors = ""
        assert process.stdout is not None
        assert process.stderr is not None
        self._reading = asyncio.gather(self._read("printed", process.stdout), self._read("errors", process.stderr))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The printed JSON objects, one per line."""
        return [json.loads(line) for line in self.printed.splitlines(keepends=True) if line.endswith("\n")]

    def named(self, event: str) -> list[dict[str, Any]]:
        """Return the objects of one event."""
        return [line for line in self.lines if line["event"] == event]

    async def end(self) -> int:
        """Wait until the process exits; return the exit code."""
        await asyncio.wait_for(self._reading, 60)
        return await asyncio.wait_for(self.process.wait(), END_TIMEOUT_S)

    async def stop(self) -> None:
        """Kill the process and its descendants."""
        kill_session(self.process.pid)
        await asyncio.wait_for(self.process.wait(), END_TIMEOUT_S)
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self, name: str, stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(1 << 16):
            setattr(self, name, getattr(self, name) + piece.decode())


class Shell:
    """Starts commands as a user does."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.commands: list[Command] = []
        self._env = env
        self._folder = folder

    async def watch(self, url: str, smelt_id: UUID, *options: str, into: str | None = None) -> Command:
        """Start `smelt watch`, piped into another command if one is given."""
        return await self.start(url, "watch", str(smelt_id), *options, into=into)

    async def start(self, url: str, *arguments: str, into: str | None = None) -> Command:
        """Start `smelt`, piped into another command if one is given."""
        smelt = shlex.join([sys.executable, "-m", "smelt", *arguments])
        process = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", f"{smelt} | {into}" if into else f"exec {smelt}"),
            env={**self._env, "SUPABASE_URL": url},
            cwd=self._folder,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        self.commands.append(command := Command(process))
        return command


@pytest.fixture
async def shell(shared_stack: Stack, user: User, tmp_path: Path) -> AsyncIterator[Shell]:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    shell = Shell(
        {**env, "SUPABASE_ANON_KEY": shared_stack.anon_key, "SMELT_ACCESS_TOKEN": user.access_token}, tmp_path
    )
    yield shell
    for command in shell.commands:
        await command.stop()


async def test_watch_command_shows_a_lost_connection_and_the_reconnect(
    shared_stack: Stack, proxy: FaultyProxy, client: Client, scripted_worker: ScriptedWorker, shell: Shell
) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    person = await shell.watch(proxy.url, created.id)
    program = await shell.watch(proxy.url, created.id, "--json")
    await until(lambda: "Waiting for a worker" in person.printed and program.lines and proxy.accepted["realtime"] == 2)
    await job.report("validating", 5)
    await until(lambda: "Validating" in person.printed and program.named("progress")[-1]["status"] == "validating")
    proxy.reject("realtime")
    await until(lambda: "reconnecting, polling meanwhile" in person.printed and program.named("connection"))
    proxy.heal()
    await until(lambda: "reconnected" in person.printed and len(program.named("connection")) == 2)
    await job.report("synthesizing", 80, words=["the", "words"])
    await job.complete("the notes")
    assert await person.end() == await program.end() == 0
    assert "the notes" in person.printed
    assert [line["message"] for line in program.named("connection")] == [
        "reconnecting, polling meanwhile",
        "reconnected",
    ]
    assert [line["state"] for line in program.named("connection")] == ["polling", "live"]
    events = [line for line in program.lines if line["event"] != "connection"]
    assert all(parse_event(line["event"], line) is not None for line in events)
    assert program.named("progress")[-1]["progress"]["stage"] == "synthesizing"
    assert [segment["text"] for line in program.named("segments") for segment in line["segments"]] == ["the", "words"]
    assert program.lines[-1]["event"] == "completed"
    assert program.lines[-1]["results"][0]["content"] == "the notes"
    assert person.errors == program.errors == ""


async def test_watch_command_polls_to_the_end_without_realtime(
    proxy: FaultyProxy, client: Client, scripted_worker: ScriptedWorker, shell: Shell
) -> None:
    created = await client.create(text="Ship it on Monday.")
    proxy.reject("realtime")
    program = await shell.watch(proxy.url, created.id, "--json")
    await until(lambda: program.named("connection"))
    await (await scripted_worker.claim(created.id)).fail("synthesis_failed")
    assert await program.end() == 1
    assert program.lines[-1]["event"] == "failed"
    assert program.lines[-1]["error_code"] == "synthesis_failed"
    assert program.errors == ""


async def test_watch_command_exit_code_matches_the_outcome(
    shared_stack: Stack, client: Client, scripted_worker: ScriptedWorker, shell: Shell
) -> None:
    completed, failed = [await client.create(text="Ship it on Monday.") for _ in range(2)]
    await (await scripted_worker.claim(completed.id)).complete(broadcast=False)
    await client.cancel(failed.id)
    commands = [
        await shell.watch(shared_stack.api_url, completed.id, "--json"),
        await shell.watch(shared_stack.api_url, failed.id, "--json"),
        await shell.watch(shared_stack.api_url, uuid4(), "--json"),
        await shell.watch(UNREACHABLE_URL, completed.id, "--json"),
    ]
    assert [await command.end() for command in commands] == [0, 1, 2, 3]
    assert [[line["event"] for line in command.lines] for command in commands] == [
        ["completed"],
        ["failed"],
        ["error"],
        ["error"],
    ]
    assert [command.lines[-1].get("code") for command in commands] == [None, None, "not_found", "unreachable"]
    assert [command.errors for command in commands] == [""] * 4


async def test_watch_command_ends_silently_on_sigint_and_broken_pipe(
    shared_stack: Stack, client: Client, scripted_worker: ScriptedWorker, shell: Shell
) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    person = await shell.watch(shared_stack.api_url, created.id)
    program = await shell.watch(shared_stack.api_url, created.id, "--json")
    readers = [await shell.watch(shared_stack.api_url, created.id, *json, into="head -1") for json in ([], ["--json"])]
    await until(lambda: all(command.printed for command in shell.commands))
    for command in (person, program):
        command.process.send_signal(signal.SIGINT)
        assert await command.end() == 130
    await job.report("validating", 5)
    assert [await command.end() for command in readers] == [1, 1]
    assert [command.printed.count("\n") for command in readers] == [1, 1]
    assert [command.errors for command in shell.commands] == [""] * 4


async def test_sigint_of_a_watch_prints_that_the_smelt_continues(
    shared_stack: Stack, scripted_worker: ScriptedWorker, shell: Shell
) -> None:
    submitting = await shell.start(shared_stack.api_url, "submit", "--text", "Ship it on Monday.", "--watch")
    await until(lambda: submitting.printed.count("\n") > 1)
    smelt_id = UUID(submitting.printed.split()[2])
    job = await scripted_worker.claim(smelt_id)
    watching = await shell.watch(shared_stack.api_url, smelt_id)
    await until(lambda: watching.printed)
    await job.report("validating", 5)
    for command in (submitting, watching):
        await until(lambda command=command: "Validating" in command.printed)
        command.process.send_signal(signal.SIGINT)
        assert await command.end() == 130
        assert command.printed.endswith(f"The smelt continues. Watch it again with: smelt watch {smelt_id}\n")
        assert command.errors == ""
