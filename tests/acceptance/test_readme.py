"""The Python examples of the README run as printed."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.commands import ROOT, environment, worker
from tests.harness import processes
from tests.harness.stacks import Stack, running_project, sign_up

README = (ROOT / "README.md").read_text()
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


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


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


def test_readme_python_examples_run(working_stack: Stack, folder: Path) -> None:
    watching, blocking, *_ = blocks("python")
    given = names_in(working_stack)
    body = watching.replace("import smelt\n", "")
    program = f"import asyncio, smelt\n{given}async def main():\n{textwrap.indent(body, '    ')}\nasyncio.run(main())\n"
    printed = run([sys.executable, "-c", program], folder, {})
    assert "% Transcribing audio..." in printed
    assert "action item" in printed.lower()
    blocking_program = f"import smelt\n{given}{blocking}\nprint(done.results[0].content)\n"
    assert "Lisa" in run([sys.executable, "-c", blocking_program], folder, {})


def test_readme_upload_example_runs(working_stack: Stack, folder: Path) -> None:
    uploading = blocks("python")[2]
    printed = run([sys.executable, "-c", f"{names_in(working_stack)}{uploading}{UPLOAD_PROGRAM}"], folder, {})
    size_bytes = RECORDING.stat().st_size
    assert f"call.m4a {size_bytes} {size_bytes}" in printed.splitlines()


def test_readme_feed_and_notifications_example_runs(working_stack: Stack, folder: Path) -> None:
    following = blocks("python")[3]
    run([sys.executable, "-c", f"{names_in(working_stack)}{following}{FEED_PROGRAM}"], folder, {})


def test_readme_testing_example_passes_under_pytest(folder: Path) -> None:
    testing = blocks("python")[4]
    (folder / "test_mine.py").write_text(f"import asyncio\n{MY_VIEW}\n{testing}")
    # Load the plugin by its module: the entry points may not be installed.
    plugin = ["-p", "no:smelt", "-p", "smelt.pytest_plugin", "-o", "asyncio_mode=auto"]
    assert "1 passed" in run([sys.executable, "-m", "pytest", *plugin, "test_mine.py"], folder, {})


def names_in(stack: Stack) -> str:
    """Return assignments of the variables that the examples use."""
    names = {"url": stack.api_url, "anon_key": stack.anon_key, "token": sign_up(stack).access_token}
    return "".join(f"{name} = {value!r}\n" for name, value in names.items())
