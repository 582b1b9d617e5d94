"""The files in scripts/examples/deploy name existing settings, commands and extras, and the unit is valid."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smelt.cli import app

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "scripts" / "examples" / "deploy"
FILES = ["Dockerfile", "compose.yaml", "smelt-worker.service"]


@pytest.mark.parametrize("name", [*FILES, "README.md"])
def test_deploy_example_names_existing_settings_and_extras(name: str) -> None:
    text = (FOLDER / name).read_text()
    documented = (REPOSITORY / ".env.example").read_text()
    for variable in set(re.findall(r"\b(?:SMELT|SUPABASE)_[A-Z_]+\b", text)):
        assert re.search(rf"\b{variable}\b", documented), f"{name}: {variable} is not in .env.example"
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for listed in re.findall(r"'[^']*\[([a-z,]+)\]'", text):
        assert set(listed.split(",")) <= set(extras)


@pytest.mark.parametrize("arguments", ["worker", "serve --host 0.0.0.0"])
def test_deploy_example_commands_exist(arguments: str) -> None:
    assert f"command: {arguments}\n" in (FOLDER / "compose.yaml").read_text()
    assert CliRunner().invoke(app, [*arguments.split(), "--help"]).exit_code == 0


def test_deploy_unit_is_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    unit = tmp_path / "smelt-worker.service"
    # The command is not installed on the machine of the tests.
    unit.write_text((FOLDER / unit.name).read_text().replace("/opt/smelt/bin/smelt", "/usr/bin/env"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
