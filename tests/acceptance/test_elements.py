"""Runs the tests of the custom elements in tests/js/elements against an embedded project without a worker."""

import re
import shutil

import psycopg
import pytest

from tests.acceptance.commands import ROOT, environment
from tests.harness.processes import run
from tests.harness.stacks import running_local

JS = ROOT / "tests" / "js"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)


@pytest.mark.parametrize("script", sorted(path.name for path in (JS / "elements").glob("*.test.mjs")))
def test_scripts_of_the_elements_pass(script: str) -> None:
    command = ["node", "--test", "--test-force-exit", "--test-reporter=spec", f"elements/{script}"]
    with running_local() as stack:
        with psycopg.connect(stack.db_url) as database:
            # The audio of an ended smelt can be expired at once.
            database.execute("update smelt.limits set audio_retention_h = 0")
        done = run(command, cwd=JS, env=environment(stack.env()), timeout_s=110)
    assert done.returncode == 0, done.stdout + done.stderr
    if skipped := re.search("^﹣ .*# (.*)$", done.stdout, re.MULTILINE):
        pytest.skip(skipped[1])
