"""The commands and the Python examples of the READMEs run as printed."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import smelt
from tests.acceptance.commands import ROOT, environment, shell, worker
from tests.harness import processes
from tests.harness.documents import code_for
from tests.harness.stacks import Stack, running_project, sign_up

RECORDING = ROOT / "tests" / "recordings" / "action_item.m4a"

# Ends when the examples have printed the insert and the updates of a smelt and its notification.
FEED_PROGRAM = """
import asyncio, smelt

printed, dropped = asyncio.Queue(), set()
print = lambda *words: printed.put_nowait(words[0])

class Cache:
    def drop(self, keys):
        dropped.update(family for family, _ in keys)

async def main():
    async with smelt.connect(url, anon_key, access_token=token) as client:
        following = [asyncio.create_task(follow(client, Cache())), asyncio.create_task(show_notifications(client))]
        await client.create(text="Ship it on Monday.")
        first_words = set()
        while not first_words > {"insert", "update"}:
            first_words.add(await printed.get())
        assert dropped == {"smelt", "smelts", "counts"}
        for task in following:
            task.cancel()

asyncio.run(main())
"""
UPLOAD_PROGRAM = """
import asyncio, smelt

class Request:
    async def stream(self):
        with open("meeting.m4a", "rb") as body:
            while part := body.read(10_000):
                yield part

async def main():
    async with smelt.connect(url, anon_key, access_token=token) as client:
        created = await create_from(client, Request())
        await client.cancel(created.id)

asyncio.run(main())
"""
MY_VIEW = """
async def my_view(client, smelt_id):
    updates = [update async for update in client.watch(smelt_id)]
    assert updates[-1].results[0].content == "# Notes"
"""


@pytest.fixture(scope="module")
def working_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project with a worker."""
    with running_project() as stack, worker(stack.env(), tmp_path_factory.mktemp("worker") / "log"):
        yield stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the recording that the examples use."""
    shutil.copy(RECORDING, tmp_path / "meeting.m4a")
    return tmp_path


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    return processes.run(command, cwd=folder, env=environment(env), check=True).stdout


def test_readme_commands_lead_from_local_start_to_results(folder: Path) -> None:
    [commands] = code_for("test_readme_commands_lead_from_local_start_to_results")
    try:
        done = shell(f"{commands}kill %1; wait %1", env={}, cwd=folder)
    finally:
        stopped = shell("smelt local stop", env={}, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lisa" in done.stdout
    assert stopped.returncode == 0


def test_readme_commands_run_as_printed(working_stack: Stack, folder: Path) -> None:
    """A command with an ID gets that of a completed smelt, or of an open one where it ends or deletes it."""
    with smelt.blocking.connect(working_stack.api_url, working_stack.service_role_key) as client:
        completed = client.wait(client.create(files=[folder / "meeting.m4a"]).id).smelt_id
        for line in "".join(code_for("test_readme_commands_run_as_printed")).splitlines():
            command = line.partition("#")[0].strip()
            changed = "cancel" in command or "delete" in command
            given = client.create(text="Ship it on Monday.", submit=False).id if changed else completed
            done = shell(command.replace("ID", str(given)), env=working_stack.env(), cwd=folder)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_readme_python_example_runs(working_stack: Stack, folder: Path) -> None:
    [example] = code_for("test_readme_python_example_runs")
    printed = run([sys.executable, "-c", in_main(example, names_in(working_stack))], folder, {})
    assert "% Transcribing audio..." in printed
    assert "action item" in printed.lower()


def test_readme_blocking_example_runs(working_stack: Stack, folder: Path) -> None:
    [example] = code_for("test_readme_blocking_example_runs")
    program = f"import smelt\n{names_in(working_stack)}{example}\nprint(done.results[0].content)\n"
    assert "Lisa" in run([sys.executable, "-c", program], folder, {})


def test_readme_upload_example_runs(working_stack: Stack, folder: Path) -> None:
    [example] = code_for("test_readme_upload_example_runs")
    printed = run([sys.executable, "-c", f"{names_in(working_stack)}{example}{UPLOAD_PROGRAM}"], folder, {})
    size_bytes = RECORDING.stat().st_size
    assert f"call.m4a {size_bytes} {size_bytes}" in printed.splitlines()


def test_readme_feed_and_notifications_example_runs(working_stack: Stack, folder: Path) -> None:
    [example] = code_for("test_readme_feed_and_notifications_example_runs")
    run([sys.executable, "-c", f"{names_in(working_stack)}{example}{FEED_PROGRAM}"], folder, {})


def test_readme_testing_example_passes_under_pytest(folder: Path) -> None:
    [example] = code_for("test_readme_testing_example_passes_under_pytest")
    (folder / "test_mine.py").write_text(f"import asyncio\n{MY_VIEW}\n{example}")
    # Load the plugin by its module: the entry points may not be installed.
    plugin = ["-p", "no:smelt", "-p", "smelt.pytest_plugin", "-o", "asyncio_mode=auto"]
    assert "1 passed" in run([sys.executable, "-m", "pytest", *plugin, "test_mine.py"], folder, {})


def test_readme_cluster_example_runs() -> None:
    [example] = code_for("test_readme_cluster_example_runs")
    assert run([sys.executable, "-c", in_main(example)], ROOT, {}).startswith("http://127.0.0.1:")


def in_main(example: str, names: str = "") -> str:
    """Return a program that runs an example with `await` outside of a function."""
    return f"import asyncio\n{names}async def main():\n{textwrap.indent(example, '    ')}\nasyncio.run(main())\n"


def names_in(stack: Stack) -> str:
    """Return assignments of the variables that the examples use."""
    names = {"url": stack.api_url, "anon_key": stack.anon_key, "token": sign_up(stack).access_token}
    return "".join(f"{name} = {value!r}\n" for name, value in names.items())
