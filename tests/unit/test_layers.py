"""The layers are respected, and the check detects violations."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLANTED = {
    "errors.py": "import smelt.contract.channels",
    "contract/channels.py": "import smelt.backend.rpc",
    "backend/rpc.py": "import smelt.processor.worker",
    "subscriber/freshness.py": "import smelt.processor.worker",
    "processor/worker.py": "import smelt.subscriber.client",
    "local/processes/ports.py": "import smelt.errors",
    "local/auth/errors.py": "import smelt.local.gateway.app",
    "gateway/limits.py": "import smelt.processor.worker",
    "gateway/errors.py": "import smelt.local.processes.ports",
    "gateway/paging.py": "import smelt.settings",
    "backend/tokens.py": "import smelt.settings",
    "subscriber/timeline.py": "import av",
    "processor/state.py": "import smelt.processor.media.probe",
}
"""A forbidden import for each of these files."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run([*command, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package that a test may change."""
    ignored = shutil.ignore_patterns("__pycache__", "demo_model", "recordings")
    shutil.copytree(ROOT / "smelt", tmp_path / "smelt", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_pass_import_linter(checkout: Path) -> None:
    checked = lint(checkout)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", PLANTED)
def test_layers_violation_is_reported_by_import_linter(checkout: Path, path: str) -> None:
    changed = checkout / "smelt" / path
    changed.write_text(f"{PLANTED[path]}\n{changed.read_text()}")
    checked = lint(checkout)
    assert checked.returncode == 1
    assert PLANTED[path].removeprefix("import ") in checked.stdout
