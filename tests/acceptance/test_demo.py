"""`smelt demo`, from a checkout and from an installed wheel."""

import email
import json
import shlex
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from commands import ROOT, STANDUP_TEXT, accuracy, environment
from processes import processes_with_home, run

from smelt.js_package import package_files

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
SETTINGS = {"SMELT_CAPTION_LINE_CHARS": "20", "SMELT_WORD_TIMES": "true"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    run([*PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.iterdir()
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a virtual environment with the wheel and the dependencies of the tests."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True)
    run([*PIP, "--python", home / "bin" / "python", "install", "--no-deps", wheel], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


def test_wheel_contains_the_javascript_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("smelt/web/") for name in archive.namelist() if name.startswith("smelt/web/")}
    assert packed == set(package_files())


def test_wheel_has_the_name_of_the_distribution_and_the_license(wheel: Path) -> None:
    assert wheel.name.startswith("supabase_smelt-")
    with zipfile.ZipFile(wheel) as archive:
        info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        license_text = archive.read(f"{info}/licenses/LICENSE").decode()
    assert (metadata["Name"], metadata["License-Expression"]) == ("supabase-smelt", "MIT")
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert license_text == (ROOT / "LICENSE").read_text()
    assert license_text.startswith("MIT License")


def test_wheel_names_itself_in_the_install_command_for_extras(wheel: Path, installed: Path, tmp_path: Path) -> None:
    program = "import smelt.distribution as d; print(d.__file__); print(d.install_command('processor,local'))"
    module, command = run([installed / "python", "-c", program], env=environment({}), cwd=tmp_path).stdout.splitlines()
    assert Path(module).is_relative_to(installed.parent)
    assert command == f"pip install '{wheel}[processor,local]'"
    offline = ["--python", installed / "python", "install", "--no-deps", "--no-index", *shlex.split(command)[2:]]
    done = run([*PIP, *offline], env=environment({}), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", ["checkout", "wheel"])
def test_demo_prints_transcript_and_action_items_and_ends_every_process(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    home = str(tmp_path / "home")
    env = environment({"HOME": home, "PYTHONPATH": str(ROOT) if source == "checkout" else "", **SETTINGS})
    installed = () if source == "checkout" else (request.getfixturevalue("installed") / "smelt",)
    done = run([*(installed or (sys.executable, "-m", "smelt")), "demo"], env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "[ ] Carla: finish the proposal by Thursday" in done.stdout
    kept = tmp_path / ".smelt" / "demo"
    assert accuracy((kept / "standup.txt").read_text(), STANDUP_TEXT) >= 0.95
    captions = (kept / "standup.srt").read_text()
    assert captions.startswith("1\n00:00:0")
    assert max(len(line) for line in captions.splitlines() if "-->" not in line) <= 20
    for segment in json.loads((kept / "standup.json").read_text())["segments"]:
        assert "".join(word["word"] for word in segment["words"]).strip() == segment["text"]
    assert processes_with_home(home) == []
