"""The vocabulary check reports banned words with file, line and the word to use, and respects its allow list."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLANTED = {
    "function": ("smelt/a.py", "x = 1\n\n\ndef words_heard() -> None: ...\n", 4, "'heard' (use transcribed"),
    "class": ("smelt/a.py", "class ThingsTold: ...\n", 1, "'Told' (use returned"),
    "parameter": ("smelt/a.py", "def f(\n    wish: str,\n) -> None: ...\n", 2, "'wish' (use request"),
    "constant": ("smelt/a.py", "OPEN_PATIENCE = 5\n", 1, "'PATIENCE' (use timeout"),
    "limit": ("smelt/a.py", "JOINED_WITHIN_S = 5\n", 1, "'_WITHIN_S' (use *_TIMEOUT_S"),
    "docstring": ("smelt/a.py", '"""Events.\n\nEach is told once.\n"""\n', 3, "'told' (use returned"),
    "docstring's opening": ("smelt/a.py", 'class A:\n    """What a worker does."""\n', 2, "'What' (use a noun"),
    "comment": ("smelt/a.py", "x = 1\ny = 2  # Wait anew.\n", 2, "'anew' (use again)"),
    "comment's opening": ("smelt/a.py", "x = 1\n# Whether it is odd.\n", 2, "'Whether' (use Return True if"),
    "sentence": ("smelt/a.py", 'x = "A file wants a name."\n', 1, "'wants' (use needs"),
    "Markdown": ("docs/a.md", "# Title\n\nA\nclient wants it.\n", 4, "'wants' (use needs"),
    "JavaScript": ("tests/a.mjs", "f();\n// Say it.\n", 2, "'Say' (use log"),
    "settings": (".env.example", "# The words that it hears\nA=1\n", 1, "'hears' (use transcribes"),
    "SQL comment": ("supabase/a.sql", "select 1;\n-- Tell the workers.\n", 2, "'Tell' (use return"),
    "SQL name": ("supabase/a.sql", "select 1;\nselect smelt.owe_event();\n", 2, "'owe' (use enqueue"),
    "construction": ("docs/a.md", "A list.\nThe file is no\nTOML.\n", 2, "'is no' (use is not a)"),
    "British spelling": ("smelt/a.py", "def normalise() -> None: ...\n", 1, "'normalise' (use -ize)"),
    "path": ("smelt/told.py", "", 1, "'told' (use returned"),
}
"""A file with one fault: its path, its text, the line of the fault and the beginning of the report."""

CLEAN = {
    "smelt/drain.py": "def drain_s_within_drain_s(at_least: int) -> None: ...  # `told` is code.\n",
    "docs/code.md": "The name `wants`, and a block:\n\n```python\ntold = 1\n```\n\nThe end.\n",
    "tests/data.py": 'SPOKEN = "She said so."\n',
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the project's vocabulary, without its allow list."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True, timeout=30)
    vocabulary = (ROOT / "scripts/vocabulary.toml").read_text().partition("[[allow]]")[0]
    write(tmp_path, "scripts/vocabulary.toml", vocabulary)
    return tmp_path


def write(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def allow(folder: Path, entry: str) -> None:
    with (folder / "scripts/vocabulary.toml").open("a") as vocabulary:
        vocabulary.write(f"[[allow]]\n{entry}\n")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/check_vocabulary.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("fault", PLANTED)
def test_vocabulary_check_reports_a_planted_fault(checkout: Path, fault: str) -> None:
    path, text, line, report = PLANTED[fault]
    write(checkout, path, text)
    checked = check(checkout)
    assert checked.returncode == 1
    assert checked.stdout.startswith(f"{path}:{line}: {report}")
    assert len(checked.stdout.splitlines()) == 1


def test_vocabulary_check_passes_code_data_and_good_names(checkout: Path) -> None:
    for path, text in CLEAN.items():
        write(checkout, path, text)
    checked = check(checkout)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_vocabulary_check_respects_an_allow_entry_in_its_file_alone(checkout: Path) -> None:
    write(checkout, "smelt/a.py", "told = 1\n")
    write(checkout, "smelt/b.py", "told = 1\n")
    allow(checkout, 'file = "smelt/a.py"\nwords = ["told"]\nreason = "An English word list."')
    assert check(checkout).stdout.startswith("smelt/b.py:1: 'told'")


def test_vocabulary_check_reports_an_allow_entry_that_is_not_needed(checkout: Path) -> None:
    write(checkout, "smelt/a.py", "told = 1\n")
    allow(checkout, 'file = "smelt/a.py"\nwords = ["told", "heard"]\nreason = "An English word list."')
    checked = check(checkout)
    assert checked.returncode == 1
    assert checked.stdout == "scripts/vocabulary.toml: smelt/a.py no longer needs 'heard' (remove it)\n"


def test_vocabulary_check_requires_a_reason_of_an_allow_entry(checkout: Path) -> None:
    allow(checkout, 'file = "smelt/a.py"\nwords = ["told"]')
    checked = check(checkout)
    assert checked.returncode == 1
    assert "The allow entry for smelt/a.py needs a reason." in checked.stderr


def test_vocabulary_check_is_part_of_the_check_script() -> None:
    assert "scripts/check_vocabulary.py" in (ROOT / "scripts/check").read_text()
