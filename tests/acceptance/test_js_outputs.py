"""Runs the tests in tests/js/outputs: a language model writes, and states, elements and page show it."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.acceptance.commands import ROOT, environment
from tests.acceptance.gateway_process import gateway_process
from tests.harness.processes import run
from tests.harness.stacks import running_local

JS = ROOT / "tests" / "js"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)


@pytest.mark.parametrize("script", sorted(path.name for path in (JS / "outputs").glob("*.test.mjs")))
def test_scripts_with_a_language_model_pass(script: str, tmp_path: Path) -> None:
    options = ("--test", "--test-force-exit", "--test-timeout=150000", "--test-reporter=spec")
    with running_local() as stack, gateway_process(stack.env(), tmp_path / "gateway.log") as gateway:
        env = {**stack.env(), "SMELT_GATEWAY": gateway.url, "PYTHON": sys.executable, "SMELT_MODEL": "demo"}
        done = run(["node", *options, f"outputs/{script}"], cwd=JS, env=environment(env), timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    if skipped := re.search("^﹣ .*# (.*)$", done.stdout, re.MULTILINE):
        pytest.skip(skipped[1])
