"""Install commands fit the installation, and never name the unrelated project `smelt` of the index."""

import re
from pathlib import Path
from typing import Any

import pytest

from smelt.distribution import command_from, install_command

ROOT = Path(__file__).parents[2]
TOOLS = r"(?:pip3?|pipx|uv pip|uv tool) install|uv add|uvx|pipx run|poetry add"
FOREIGN_PROJECT = re.compile(
    rf"""(?:{TOOLS})\s+(?:-\S+\s+)*['"]?smelt\b(?!-)|(?<!supabase-)\bsmelt\[(?:processor|llm|gateway|local|dev|\$)"""
)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "supabase_smelt-0.1.0-py3-none-any.whl"
    path.touch()
    return path


def test_install_command_names_this_checkout() -> None:
    assert install_command("local") == f"pip install -e '{ROOT}[local]'"


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'supabase-smelt[llm,local]'"),
        ({"url": ROOT.as_uri(), "dir_info": {}}, f"pip install '{ROOT}[llm,local]'"),
        ({"url": ROOT.as_uri(), "dir_info": {"editable": True}}, f"pip install -e '{ROOT}[llm,local]'"),
        ({"url": "file:///gone", "dir_info": {}}, "pip install '.[llm,local]' in a checkout of smelt"),
        ({"url": "file:///gone/a.whl", "archive_info": {}}, "pip install '.[llm,local]' in a checkout of smelt"),
        (
            {"url": "https://example.com/a.whl", "archive_info": {}},
            "pip install 'supabase-smelt[llm,local] @ https://example.com/a.whl'",
        ),
        (
            {"url": "https://example.com/smelt", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'supabase-smelt[llm,local] @ git+https://example.com/smelt'",
        ),
    ],
)
def test_install_command_uses_the_recorded_origin(origin: dict[str, Any] | None, command: str) -> None:
    assert command_from(origin, "llm,local") == command


def test_install_command_names_the_wheel_that_was_installed(wheel: Path) -> None:
    assert command_from({"url": wheel.as_uri(), "archive_info": {}}, "llm") == f"pip install '{wheel}[llm]'"


@pytest.mark.parametrize(
    ("advice", "is_foreign"),
    [
        ("pip install smelt", True),
        ("pip install -U 'smelt>=1'", True),
        ("pip install\n'smelt[processor,local]'", True),
        ("uvx smelt demo", True),
        ('"smelt[processor,llm]"', True),
        ("pip install 'supabase-smelt[processor,local]'", False),
        ("pip install supabase-smelt", False),
        ("pip install '.[processor,local]'  # then: smelt local start", False),
        ("smelt[0]", False),
    ],
)
def test_install_advice_with_the_foreign_project_is_detected(advice: str, is_foreign: bool) -> None:
    assert bool(FOREIGN_PROJECT.search(advice)) is is_foreign


def test_install_advice_never_names_the_foreign_project() -> None:
    folders = [ROOT / name for name in ("smelt", "scripts", "supabase", "tests", ".ci")]
    files = [path for path in ROOT.iterdir() if path.is_file()] + [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "node_modules" not in path.parts
    ]
    files.remove(Path(__file__))
    assert ROOT / "README.md" in files
    found = {str(path): FOREIGN_PROJECT.findall(path.read_text(errors="ignore")) for path in files}
    assert {path: advice for path, advice in found.items() if advice} == {}
