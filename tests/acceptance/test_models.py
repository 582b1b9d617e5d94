"""`smelt models` and `smelt models get`, with a hub, without one, and with a folder; `smelt demo` with own files."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smelt.processor.speech.demo_model_card import demo_folder
from tests.acceptance.commands import smelt
from tests.harness.fake_hub import COMMIT, UNKNOWN, WEIGHTS_SHA256, running_hub

RECORDING = Path(__file__).parents[1] / "recordings" / "greeting.ogg"
BUNDLED = Path(str(demo_folder()))
ADVICE = "`smelt models get base --from FOLDER`, or set SMELT_MODEL to a folder with a model"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty cache and a hub that rejects every connection."""
    return {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "", "HF_HUB_OFFLINE": ""}


def listed(env: dict[str, str], cwd: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of `smelt models --json` by name."""
    done = smelt("models", "--json", env=env, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line for line in lines}


def get(*arguments: str | Path, env: dict[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    return smelt("models", "get", *arguments, env=env, cwd=cwd)


def test_models_get_downloads_a_model_that_is_then_found_without_the_hub(env: dict[str, str], tmp_path: Path) -> None:
    assert [*listed(env, tmp_path)] == ["demo"]
    with running_hub() as url:
        done = get("base", env={**env, "HF_ENDPOINT": url}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Commit: {COMMIT}" in done.stdout
    assert f"SHA-256 of model.bin: {WEIGHTS_SHA256}" in done.stdout
    assert "SMELT_MODEL=base" in done.stdout
    base = listed({**env, "SMELT_MODEL": "base"}, tmp_path)["base"]
    assert (base["is_set"], base["revision"], base["fault"]) == (True, COMMIT, None)
    assert Path(base["folder"]).is_relative_to(env["HF_HOME"])
    assert (Path(base["folder"]) / "model.bin").read_bytes() == (BUNDLED / "model.bin").read_bytes()
    assert not (Path(base["folder"]) / "README.md").exists()


@pytest.mark.parametrize(
    ("name", "hub", "message"),
    [
        (UNKNOWN, {}, f"has no model {UNKNOWN}, or it needs a token"),
        ("base", {"damaged": ("model.bin",)}, "model.bin of base is damaged"),
        ("base", {"without": ("tokenizer.json",)}, "tokenizer.json is missing"),
        ("base", {"without": ("vocabulary.json",)}, "vocabulary.json or vocabulary.txt is missing"),
    ],
)
def test_models_get_rejects_a_model_that_is_unknown_damaged_or_incomplete(
    name: str, hub: dict[str, tuple[str, ...]], message: str, env: dict[str, str], tmp_path: Path
) -> None:
    with running_hub(**hub) as url:
        done = get(name, env={**env, "HF_ENDPOINT": url}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@contextmanager
def silent_hub() -> Iterator[str]:
    """Yield the URL of a hub that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("hub", ["down", "silent", "offline"])
def test_models_get_without_a_hub_prints_one_sentence_with_advice(
    hub: str, env: dict[str, str], tmp_path: Path
) -> None:
    with silent_hub() as url:
        changed = {"down": {}, "silent": {"HF_ENDPOINT": url}, "offline": {"HF_HUB_OFFLINE": "1"}}[hub]
        done = get("base", env={**env, **changed}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    reason = {"down": "127.0.0.1:9", "silent": "does not respond", "offline": "HF_HUB_OFFLINE is set"}[hub]
    assert reason in done.stderr
    assert ADVICE in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_models_get_from_a_folder_makes_its_name_known(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    shutil.copytree(BUNDLED, folder)
    for _ in range(2):
        done = get("small", "--from", folder, env=env, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert f"SHA-256 of model.bin: {WEIGHTS_SHA256}" in done.stdout
    small = listed({**env, "SMELT_MODEL": "small"}, tmp_path)["small"]
    assert (small["is_set"], small["fault"]) == (True, None)
    assert f"small is in {small['folder']} (" in done.stdout


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("base", "config.json", "config.json is missing"),
        ("base", "pointer", "model.bin is a pointer of Git LFS"),
        ("mine", None, "mine is neither a known size nor a model of the hub"),
        ("demo", None, "demo is bundled"),
    ],
)
def test_models_get_from_a_folder_rejects_a_wrong_name_or_folder(
    name: str, broken: str | None, message: str, env: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "stick"
    shutil.copytree(BUNDLED, folder)
    if broken == "pointer":
        (folder / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    elif broken is not None:
        (folder / broken).unlink()
    done = get(name, "--from", folder, env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path(env["HF_HOME"]).exists()


def test_models_marks_the_one_that_the_settings_take(env: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "mine")
    bundled = smelt("models", env=env, cwd=tmp_path).stdout.splitlines()
    assert bundled[0].startswith("* demo ")
    (tmp_path / ".env").write_text("SMELT_MODEL=mine\n")
    first, second, *_ = smelt("models", env=env, cwd=tmp_path).stdout.splitlines()
    assert (first.split()[0], second.split()[:2]) == ("demo", ["*", "mine"])
    absent = smelt("models", env={**env, "SMELT_MODEL": "large-v3"}, cwd=tmp_path).stdout.splitlines()
    assert not any(line.startswith("*") for line in absent)
    assert absent[-1] == "SMELT_MODEL=large-v3 is not on this machine: `smelt models get large-v3` fetches it."


def test_demo_with_own_files_takes_base_and_needs_no_hub_once_it_is_there(env: dict[str, str], tmp_path: Path) -> None:
    alone = smelt("demo", RECORDING, env=env, cwd=tmp_path)
    assert alone.returncode == 3
    assert ADVICE in alone.stderr
    assert len(alone.stderr.splitlines()) == 1
    assert not (tmp_path / ".smelt").exists()
    assert get("base", "--from", BUNDLED, env=env, cwd=tmp_path).returncode == 0
    done = smelt("demo", RECORDING, env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Good morning Emma." in done.stdout
    assert "The demo model knows only" not in done.stdout


def test_demo_with_own_files_takes_the_model_of_the_settings(env: dict[str, str], tmp_path: Path) -> None:
    done = smelt("demo", RECORDING, env={**env, "SMELT_MODEL": "demo"}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The demo model knows only" in done.stdout
