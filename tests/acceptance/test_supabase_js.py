"""Runs the tests in tests/js, which use supabase-js, against a project with a worker."""

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from smelt.contract.events import EVENT_MODELS
from smelt.js_package import packed_package
from tests.acceptance.commands import ROOT, environment, worker
from tests.harness.processes import run
from tests.harness.stacks import running_project

JS = ROOT / "tests" / "js"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the scripts, for a project with a worker."""
    folder = tmp_path_factory.mktemp("js")
    contract = folder / "contract.json"
    package = folder / "smelt-js.tgz"
    package.write_bytes(packed_package())
    contract.write_text(json.dumps({event: model.model_json_schema() for event, model in EVENT_MODELS.items()}))
    with running_project() as stack, worker(stack.env(), folder / "worker.log"):
        yield {
            **stack.env(),
            "SMELT_CONTRACT": str(contract),
            "SMELT_JS_PACKAGE": str(package),
            "SMELT_RECORDING": str(ROOT / "tests" / "recordings" / "decision.ogg"),
        }


@pytest.mark.parametrize("script", sorted(path.name for path in JS.glob("*.test.mjs")))
def test_supabase_js_scripts_pass(script: str, env: dict[str, str]) -> None:
    # supabase-js keeps a timer for 10 s after it has disconnected.
    command = ["node", "--test", "--test-force-exit", "--test-reporter=spec", script]
    done = run(command, cwd=JS, env=environment(env), timeout_s=110)
    assert done.returncode == 0, done.stdout + done.stderr
    if skipped := re.search("^﹣ .*# (.*)$", done.stdout, re.MULTILINE):
        pytest.skip(skipped[1])
