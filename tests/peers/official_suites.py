"""Runs the test suites of supabase-py against embedded stacks, prints a table, and fails if a test fails.

    scripts/peers CHECKOUT [--suite realtime] [--suite storage] [--suite postgrest]

CHECKOUT is a clone of https://github.com/supabase/supabase-py. Neither the source distributions on PyPI nor the npm
packages contain the suites. Three of them are suitable: that of Auth needs several differently configured servers, and
those of functions and supabase use no server. The clients of the checkout are installed in a virtual environment of
their own.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from smelt.local import LocalStack, StackHandle
from smelt.settings import LocalSettings

REQUIREMENTS: Final = ("pytest", "pytest-asyncio", "pytest-cov", "pytest-depends", "python-dotenv", "aiohttp")
SUITES: Final = ("realtime", "storage", "postgrest")
PLAIN_POSTGREST: Final = "http://127.0.0.1:3000"
"""The server that the suite of PostgREST expects: without a gateway, and thus without keys."""

SHOW_PLANS: Final = "alter role authenticator set pgrst.db_plan_enabled = 'true';"


@dataclass(frozen=True)
class Result:
    """The number of passed and skipped tests of a suite, and the names of the failed ones."""

    suite: str
    passed: int
    skipped: int
    failed: tuple[str, ...]


async def main() -> int:
    """Run the chosen suites; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/peers", description="Run the suites of supabase-py.")
    parser.add_argument("checkout", type=Path, help="a clone of https://github.com/supabase/supabase-py")
    parser.add_argument("--suite", action="append", choices=SUITES, help="default: all")
    arguments = parser.parse_args()
    packages = arguments.checkout.resolve() / "src"
    if not (packages / "realtime" / "tests").is_dir():
        parser.error(f"{arguments.checkout} is not a checkout of supabase-py: it has no src/realtime/tests")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = install(packages, folder / "venv")
        results = [await run(suite, packages / suite, folder / suite, python) for suite in arguments.suite or SUITES]
    report(results)
    return 1 if any(result.failed for result in results) else 0


def install(packages: Path, target: Path) -> Path:
    """Install the clients of the checkout, and return the Python that imports them."""
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    clients = [str(path.parent) for path in sorted(packages.glob("*/pyproject.toml"))]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *clients, *REQUIREMENTS], check=True)
    return python


async def run(suite: str, source: Path, folder: Path, python: Path) -> Result:
    """Run a copy of a suite against a stack of its project."""
    shutil.copytree(source, folder)
    project = postgrest_project(folder) if suite == "postgrest" else folder / "infra" / "supabase"
    async with LocalStack(migrations=project, postgrest=LocalSettings.read().postgrest) as stack:
        adapt(folder / "tests", stack)
        junit = folder / "junit.xml"
        command = [python, "-m", "pytest", "tests", "-q", f"--junitxml={junit}"]
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=os.environ | environment(stack))
        await process.wait()
    return read(suite, junit)


def postgrest_project(folder: Path) -> Path:
    """Write a project with the tables of the suite of PostgREST."""
    project = folder / "project"
    (project / "migrations").mkdir(parents=True)
    tables = (folder / "infra" / "init.sql").read_text()
    (project / "migrations" / "20250101000000_tables.sql").write_text(f"{SHOW_PLANS}\n{tables}")
    return project


def adapt(tests: Path, stack: StackHandle) -> None:
    """Replace the server of the suite of PostgREST by the stack, whose gateway requires a key."""
    key = stack.service_role_key
    headers = {"apikey": key, "Authorization": f"Bearer {key}"}
    for path in tests.rglob("*.py"):
        text = path.read_text()
        if PLAIN_POSTGREST in text:
            text = text.replace(PLAIN_POSTGREST, f"{stack.api_url}/rest/v1")
            path.write_text(text.replace("base_url=REST_URL,", f"base_url=REST_URL, headers={headers},"))


def environment(stack: StackHandle) -> dict[str, str]:
    """Return the variables from which the suites read the address of their server."""
    return {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "SUPABASE_PUBLISHABLE_KEY": stack.anon_key,
        "SUPABASE_TEST_URL": f"{stack.api_url}/storage/v1/",
        "SUPABASE_TEST_KEY": stack.service_role_key,
    }


def read(suite: str, junit: Path) -> Result:
    """Return the result in a report of pytest."""
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    # A test that passes and fails to clean up has two entries.
    names = {f"{case.get('classname')}.{case.get('name')}" for case in cases}
    failed = {
        f"{case.get('classname')}.{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    return Result(suite, len(names) - len(failed) - skipped, skipped, tuple(sorted(failed)))


def report(results: Sequence[Result]) -> None:
    """Print the counts of each suite, and the names of its failed tests."""
    print("\n| suite | passed | failed | skipped |\n|---|---|---|---|")
    for result in results:
        print(f"| {result.suite} | {result.passed} | {len(result.failed)} | {result.skipped} |")
    for result in results:
        for name in result.failed:
            print(f"failed in {result.suite}: {name}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
