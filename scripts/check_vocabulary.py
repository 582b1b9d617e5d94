"""Check that names and prose use the project's vocabulary: plain technical English, one word for one concept.

Reads `vocabulary.toml` beside this file. Checks identifiers (split at underscores and capitals), docstrings, comments
and sentences in Python, and the text of SQL, Markdown and `.env.example`. Prints `file:line: word (use ...)` for each
finding and exits with 1 if there is any. File names are checked like identifiers.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
PROSE_WORD = re.compile(r"(?<![\w'])[A-Za-z]+(?:'[a-z]+)?")
CODE = re.compile(r"`[^`\n]*`")


class Text(NamedTuple):
    """A piece of a file: where it begins, what it says, and whether it is a name, prose or the start of a docstring."""

    line: int
    text: str
    kind: str


class Finding(NamedTuple):
    """A banned word or construction, and the words to use instead."""

    file: str
    line: int
    found: str
    use: str


class Vocabulary:
    """The banned words and constructions, and where they are allowed."""

    def __init__(self, path: Path) -> None:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
        self._words: dict[str, str] = config["words"]
        self._names: dict[str, str] = config["names"]
        self._openings: dict[str, str] = config["openings"]
        self._constructions = [(re.compile(pattern), use) for pattern, use in config["constructions"].items()]
        self._prose_later: list[str] = config["prose_later"]["folders"]
        self._allowed = {(entry["file"], word) for entry in config["allow"] for word in entry["words"]}

    def findings(self, file: str, texts: Iterator[Text]) -> Iterator[Finding]:
        """Return what is banned in the texts of one file."""
        for line, text, kind in texts:
            if kind != "name" and file.startswith(tuple(self._prose_later)):
                continue
            for found, use in self._banned(text, kind):
                if (file, found.lower()) not in self._allowed:
                    yield Finding(file, line + text[: text.find(found)].count("\n"), found, use)

    def _banned(self, text: str, kind: str) -> Iterator[tuple[str, str]]:
        if kind == "name":
            banned = self._words | self._names
            yield from ((word, banned[word.lower()]) for word in WORD.findall(text) if word.lower() in banned)
            return
        prose = CODE.sub(lambda code: " " * len(code[0]), text)
        yield from (
            (word, self._words[word.lower()]) for word in PROSE_WORD.findall(prose) if word.lower() in self._words
        )
        for pattern, use in self._constructions:
            yield from ((match[0], use) for match in pattern.finditer(prose))
        if kind == "docstring" and (opening := PROSE_WORD.match(prose.lstrip())) and opening[0] in self._openings:
            yield opening[0], self._openings[opening[0]]


def python_texts(source: str, *, sentences: bool) -> Iterator[Text]:
    """Return the defined names, docstrings and comments of a module, and with `sentences` its strings with blanks."""
    docstrings = set[int]()
    for node in ast.walk(ast.parse(source)):
        yield from _names(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstrings.add(id(first.value))
                yield Text(first.lineno, first.value.value, "docstring")
        elif (
            sentences and isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ):
            if " " in node.value:
                yield Text(node.lineno, node.value, "prose")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string.lstrip("# "), "prose")


def _names(node: ast.AST) -> Iterator[Text]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield Text(node.lineno, name, "name")
        case ast.arg(arg=name):
            yield Text(node.lineno, name, "name")
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield Text(node.lineno, name, "name")


def file_texts(root: Path, file: str) -> Iterator[Text]:
    """Return what is to be checked in one file, its own name included."""
    yield Text(1, file, "name")
    source = (root / file).read_text(encoding="utf-8")
    if file.endswith(".py"):
        yield from python_texts(source, sentences=file.startswith("smelt/"))
    else:
        source = re.sub(r"^```.*?^```", lambda code: re.sub(r"[^\n]", " ", code[0]), source, flags=re.M | re.S)
        yield Text(1, source, "prose")


def main(root: Path) -> int:
    """Check all tracked files below `root`; return the exit code."""
    vocabulary = Vocabulary(Path(__file__).with_name("vocabulary.toml"))
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True
    )
    files = [file for file in listed.stdout.splitlines() if file.endswith((".py", ".sql", ".md", ".env.example"))]
    findings = [finding for file in files for finding in vocabulary.findings(file, file_texts(root, file))]
    for file, line, found, use in findings:
        print(f"{file}:{line}: {found!r} (use {use})")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
