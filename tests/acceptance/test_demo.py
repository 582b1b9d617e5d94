"""The first thing that a newcomer runs, from a checkout and from an installed wheel."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from commands import ROOT, STANDUP_TEXT, accuracy, environment

SETTINGS = {"SMELT_CAPTION_LINE_CHARS": "20", "SMELT_WORD_TIMES": "true"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with smelt as a wheel brings it, to be put on the path."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True, timeout=100)
    subprocess.run([*pip, "install", "--no-deps", "--target", site, *wheels.iterdir()], check=True, timeout=100)
    return site


@pytest.mark.parametrize("source", ["checkout", "wheel"])
def test_the_demo_prints_transcript_and_action_items_and_leaves_nothing_running(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = ROOT if source == "checkout" else request.getfixturevalue("installed")
    home = str(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-m", "smelt", "demo"],
        env=environment({"PYTHONPATH": str(path), "HOME": home, **SETTINGS}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
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
    assert at_home(home) == []


def at_home(home: str) -> list[psutil.Process]:
    """Processes that have this home: it is handed down to every process of a stack."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == home:
                found.append(process)
    return found
