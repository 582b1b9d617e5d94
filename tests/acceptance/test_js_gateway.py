"""Runs the tests in tests/js/gateway: the JavaScript package and the page, over a gateway of a project."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.commands import ROOT, environment
from tests.acceptance.gateway_process import gateway_process
from tests.harness.gateways import SIGNING_KEY
from tests.harness.processes import run
from tests.harness.stacks import running_local

JS = ROOT / "tests" / "js"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of the scripts, for a gateway and a project on which no worker has ever run."""
    keys = {"SMELT_SIGNING_KEYS": SIGNING_KEY}
    with running_local() as stack, gateway_process({**stack.env(), **keys}, tmp_path / "gateway.log") as gateway:
        yield {
            **stack.env(),
            **keys,
            "SMELT_GATEWAY": gateway.url,
            "SMELT_RECORDING": str(ROOT / "tests/recordings/decision.ogg"),
        }


@pytest.mark.parametrize("script", sorted(path.name for path in (JS / "gateway").glob("*.test.mjs")))
def test_gateway_scripts_pass(script: str, env: dict[str, str]) -> None:
    command = ["node", "--test", "--test-force-exit", "--test-reporter=spec", f"gateway/{script}"]
    done = run(command, cwd=JS, env=environment(env), timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    if skipped := re.search("^﹣ .*# (.*)$", done.stdout, re.MULTILINE):
        pytest.skip(skipped[1])
