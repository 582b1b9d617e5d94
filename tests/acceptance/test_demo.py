"""`smelt demo`, from a checkout and from an installed wheel."""

import email
import json
import re
import shlex
import signal
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from smelt.js_package import PAGE, package_files
from tests.acceptance.commands import ROOT, STANDUP, STANDUP_TEXT, accuracy, environment, smelt
from tests.harness.processes import processes_with_home, run, started
from tests.harness.waiting import wait_until

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


def test_wheel_contains_the_javascript_package_and_the_page(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("smelt/web/") for name in archive.namelist() if name.startswith("smelt/web/")}
    assert packed == {*package_files(), *(f"page/{path.name}" for path in PAGE.iterdir())}


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


def test_demo_serves_the_page_and_ends_every_process_on_ctrl_c(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    env = environment({"HOME": home, "PYTHONPATH": str(ROOT), "SMELT_GATEWAY_PORT": "0", **SETTINGS})
    log = tmp_path / "log"
    command = [sys.executable, "-m", "smelt", "demo", "--web"]
    with log.open("wb") as sink, started(command, env=env, cwd=tmp_path, stdout=sink, stderr=sink) as process:
        wait_until(lambda: "The page" in log.read_text() or process.poll() is not None, "the address of the page", 60)
        found = re.search(r"The page: (http://\S+/)", log.read_text())
        assert found is not None, log.read_text()
        with httpx.Client(base_url=found[1], timeout=90) as gateway:
            assert "<smelt-upload>" in gateway.get("/").text
            config = gateway.get("/config.json").json()
            session = httpx.post(f"{config['url']}/auth/v1/signup", headers={"apikey": config["key"]}, json={})
            gateway.headers["Authorization"] = f"Bearer {session.json()['access_token']}"
            with STANDUP.open("rb") as recording:
                created = gateway.post("/api/smelts?wait=60", files={"file": (STANDUP.name, recording)})
            assert (created.status_code, created.json()["ended"]["status"]) == (201, "completed"), created.text
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()
    assert processes_with_home(home) == []


def test_demo_takes_either_files_or_the_page() -> None:
    done = smelt("demo", "--web", STANDUP, env={})
    assert (done.returncode, "pass --web or files" in " ".join(done.stderr.split())) == (2, True)
