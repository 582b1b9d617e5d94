"""The documents are short where they should be, complete, and lead to files, headings, tests and names that exist."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from tests.harness.documents import ROOT, CodeBlock, code_blocks, documents

MAX_README_WORDS: Final = 1200
MIN_PROMISES: Final = 80
COMMIT_VERBS: Final = {"Fix", "Add", "Remove", "Document", "Test"}
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
# A file in backticks, with its folder.
FILE: Final = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]+\.(?:py|sql|m?js|toml|md|jsonl?|ogg|pcm))`")
PACKAGES: Final = ("", "smelt", "smelt/processor", "smelt/processor/speech", "smelt/local")
EVERY_DOCUMENT: Final = pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _without_code(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _without_code(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _table(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows below a heading, without the heads of tables."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
    assert rows, heading
    return rows


@cache
def _tests() -> dict[str, list[str]]:
    """Return the files of each test function of Python, by its name."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    return found


def test_readme_has_at_most_1200_words() -> None:
    assert len(_text("README.md").split()) <= MAX_README_WORDS


@EVERY_DOCUMENT
def test_links_lead_to_files_and_headings(document: Path) -> None:
    broken = []
    for link in LINK.findall(_without_code(document)):
        target, _, anchor = unquote(link).partition("#")
        if target.startswith(("http://", "https://")):
            continue
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(link)
    assert broken == []


@EVERY_DOCUMENT
def test_files_that_a_document_names_exist(document: Path) -> None:
    folders = [document.parent, *(ROOT / package for package in PACKAGES)]
    text = _without_code(document)
    named = {*FILE.findall(text), *re.findall(r"`(test_\w+\.py)`", text)}
    missing = {name for name in named if not any(any(folder.glob(name)) for folder in folders)}
    assert missing - {Path(file).name for files in _tests().values() for file in files} == set()


@EVERY_DOCUMENT
def test_every_code_block_is_executed_by_a_test_or_states_why_not(document: Path) -> None:
    blocks = list(code_blocks(document))
    assert len(re.findall(r"^ *```", document.read_text(encoding="utf-8"), re.MULTILINE)) == 2 * len(blocks)
    assert [f"line {block.line}" for block in blocks if not _is_accounted_for(block)] == []


def _is_accounted_for(block: CodeBlock) -> bool:
    """Return True if a reason is given, or each test that is named exists once and reads the block."""
    for test in block.tests:
        if len(_tests().get(test, [])) != 1 or not _reads_blocks(test):
            return False
    return bool(block.tests or block.reason)


def _reads_blocks(test: str) -> bool:
    """Return True if the file of a test gets its blocks from the documents."""
    [file] = _tests()[test]
    return f'code_for("{test}")' in _text(file)


def test_each_place_in_the_code_has_the_name_that_the_table_lists() -> None:
    for what, file, names in _table(_text("smelt/README.md"), "Where to find what")[1:]:
        for path in re.findall(r"`([^`]+)`", file):
            place = ROOT / "smelt" / path
            assert place.exists(), (what, path)
        for name in re.findall(r"`([^`]+)`", names):
            assert re.search(rf"\b{name}\b", place.read_text(encoding="utf-8")), (what, name)


def test_names_in_the_contributing_guide_exist() -> None:
    sources = [path for folder in ("smelt", "supabase/migrations", "scripts") for path in (ROOT / folder).rglob("*.*")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources if path.suffix in {".py", ".sql", ".js"})
    names = set(re.findall(r"`(?:\w+\.)?(\w+_\w+|[A-Z]\w+)`", _without_code(ROOT / ".github" / "CONTRIBUTING.md")))
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} <= COMMIT_VERBS


def test_each_promise_has_a_test_that_exists() -> None:
    rows = _table(_text("tests/README.md"), "Promises")
    named = [name for row in rows for name in re.findall(r"`(\S+)::(\S+)`", row[-1])]
    assert len(named) > MIN_PROMISES
    existing = {(Path(file).name, test) for test, files in _tests().items() for file in files}
    assert [f"{file}::{test}" for file, test in named if (file, test) not in existing] == []
