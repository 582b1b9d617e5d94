"""supabase-js follows smelts, and can do no more than it may: the tests in tests/js, run beside a worker."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import ROOT, environment, worker
from stacks import Stack

from smelt.contract.events import EVENT_MODELS

JS = ROOT / "tests" / "js"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)


@pytest.mark.parametrize("script", sorted(path.name for path in JS.glob("*.test.mjs")))
def test_supabase_js(script: str, fresh_stack: Stack, tmp_path: Path) -> None:
    contract = tmp_path / "contract.json"
    contract.write_text(json.dumps({event: model.model_json_schema() for event, model in EVENT_MODELS.items()}))
    env = {
        **fresh_stack.env(),
        "SMELT_CONTRACT": str(contract),
        "SMELT_RECORDING": str(ROOT / "tests" / "recordings" / "decision.ogg"),
    }
    with worker(fresh_stack.env(), tmp_path / "worker.log"):
        done = subprocess.run(
            ["node", "--test", "--test-reporter=spec", script],
            cwd=JS,
            env=environment(env),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
