"""Check that names and prose use the project's vocabulary: plain technical English, one word for one concept.

Reads `vocabulary.toml` beside this file and checks all files that git tracks or does not ignore:

- Python: defined names, docstrings and comments; in `smelt/` and `scripts/` also strings that contain a blank;
- SQL: names that contain an underscore, comments and sentences;
- Markdown, JavaScript and `.env.example`: the text without code blocks and inline code;
- the path of each of these files.

Prints `file:line: 'word' (use ...)` for each finding, and each `[[allow]]` entry that is not needed. Exits with 1 if
there is any.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

SUFFIXES = (".py", ".sql", ".md", ".mjs", ".env.example")
SENTENCES_CHECKED = ("smelt/", "scripts/")

# "HTTPServer_name" is split into "HTTP", "Server" and "name"; "it's" is one word of prose.
NAME_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
PROSE_WORD = re.compile(r"(?<![\w'])[A-Za-z]+(?:'[a-z]+)?(?!\w)")
OPENING = re.compile(r"^[A-Z][a-z]+\b")
SQL_NAME = re.compile(r"\b[a-z]\w*_\w*\b")
INLINE_CODE = re.compile(r"`[^`\n]+`")
CODE_BLOCK = re.compile(r"^ *```.*?^ *```", flags=re.MULTILINE | re.DOTALL)

Kind = Literal["name", "statement", "prose"]


class Text(NamedTuple):
    """A name, a statement (docstring or comment) or other prose of a file, and the line where it begins."""

    line: int
    content: str
    kind: Kind


class Match(NamedTuple):
    """A banned word or construction, its offset in the text, and what to use instead."""

    offset: int
    found: str
    use: str


class Finding(NamedTuple):
    """A banned word or construction in a file, and what to use instead."""

    file: str
    line: int
    found: str
    use: str

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.file}:{self.line}: {self.found!r} (use {self.use})"


class Vocabulary:
    """The banned words and constructions, and the files in which some of them are allowed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Compile the tables of `vocabulary.toml`; raises `ValueError` for an allow entry without a reason."""
        self._words: dict[str, str] = config["words"]
        self._names: dict[str, str] = self._words | config["names"]
        self._openings: dict[str, str] = config["openings"]
        spellings = config["spellings"]
        self._name_patterns = _compiled(config["name_patterns"] | spellings)
        self._constructions = _compiled(config["constructions"] | spellings)
        self._allowed = set[tuple[str, str]]()
        self._used = set[tuple[str, str]]()
        for entry in config.get("allow", []):
            if not entry.get("reason"):
                raise ValueError(f"The allow entry for {entry['file']} needs a reason.")
            self._allowed.update((entry["file"], word.lower()) for word in entry["words"])

    def findings(self, file: str, texts: Iterator[Text]) -> Iterator[Finding]:
        """Yield what is banned in the texts of one file and not allowed there."""
        for text in texts:
            for offset, found, use in self._banned(text):
                entry = file, found.lower()
                if entry in self._allowed:
                    self._used.add(entry)
                else:
                    line = text.line + text.content.count("\n", 0, offset)
                    yield Finding(file, line, " ".join(found.split()), use)

    def unneeded(self) -> Iterator[tuple[str, str]]:
        """Yield the allowed words, each with its file, that no call of `findings` came across."""
        yield from sorted(self._allowed - self._used)

    def _banned(self, text: Text) -> Iterator[Match]:
        match text.kind:
            case "name":
                yield from _matches(NAME_WORD, text.content, self._names)
                yield from _patterns(self._name_patterns, text.content)
            case "statement" | "prose":
                prose = INLINE_CODE.sub(_blanked, text.content)
                yield from _matches(PROSE_WORD, prose, self._words)
                yield from _patterns(self._constructions, prose)
                if text.kind == "statement":
                    yield from _matches(OPENING, prose, self._openings)


def _compiled(patterns: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), use) for pattern, use in patterns.items()]


def _matches(pattern: re.Pattern[str], text: str, banned: Mapping[str, str]) -> Iterator[Match]:
    for word in pattern.finditer(text):
        if use := banned.get(word[0].lower()):
            yield Match(word.start(), word[0], use)


def _patterns(patterns: list[tuple[re.Pattern[str], str]], text: str) -> Iterator[Match]:
    for pattern, use in patterns:
        yield from (Match(match.start(), match[0], use) for match in pattern.finditer(text))


def _blanked(code: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", code[0])


def python_texts(source: str, *, sentences: bool) -> Iterator[Text]:
    """Yield the defined names, docstrings and comments of a module; with `sentences` also strings with a blank."""
    tree = ast.parse(source)
    docstrings = {id(node): node for node in map(_docstring, ast.walk(tree)) if node}
    for node in ast.walk(tree):
        yield from _defined_name(node)
        match node:
            case ast.Constant(value=str(content)) if id(node) in docstrings:
                yield Text(node.lineno, content, "statement")
            case ast.Constant(value=str(content)) if sentences and " " in content:
                yield Text(node.lineno, content, "prose")
    yield from _comments(source)


def _docstring(node: ast.AST) -> ast.Constant | None:
    match node:
        case (
            ast.Module(body=[ast.Expr(ast.Constant(str()) as constant), *_])
            | ast.ClassDef(body=[ast.Expr(ast.Constant(str()) as constant), *_])
            | ast.FunctionDef(body=[ast.Expr(ast.Constant(str()) as constant), *_])
            | ast.AsyncFunctionDef(body=[ast.Expr(ast.Constant(str()) as constant), *_])
        ):
            return constant
    return None


def _defined_name(node: ast.AST) -> Iterator[Text]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield Text(node.lineno, name, "name")
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield Text(node.lineno, name, "name")
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield Text(node.lineno, name, "name")


def _comments(source: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string.lstrip("# "), "statement")


def sql_texts(source: str) -> Iterator[Text]:
    """Yield the names with an underscore and the whole text."""
    for name in SQL_NAME.finditer(source):
        yield Text(1 + source.count("\n", 0, name.start()), name[0], "name")
    yield Text(1, source, "prose")


def file_texts(root: Path, file: str) -> Iterator[Text]:
    """Yield what is checked in one file, its path included."""
    yield Text(1, file, "name")
    source = (root / file).read_text(encoding="utf-8")
    if file.endswith(".py"):
        yield from python_texts(source, sentences=file.startswith(SENTENCES_CHECKED))
    elif file.endswith(".sql"):
        yield from sql_texts(source)
    else:
        yield Text(1, CODE_BLOCK.sub(_blanked, source), "prose")


def checked_files(root: Path) -> list[str]:
    """Return the paths of the files to check, relative to `root`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [file for file in listed.stdout.splitlines() if file.endswith(SUFFIXES) and (root / file).is_file()]


def main(root: Path) -> int:
    """Check all files below `root`; return the exit code."""
    vocabulary = Vocabulary(tomllib.loads((root / "scripts/vocabulary.toml").read_text(encoding="utf-8")))
    found = chain.from_iterable(vocabulary.findings(file, file_texts(root, file)) for file in checked_files(root))
    problems = [str(finding) for finding in found]
    problems += [
        f"scripts/vocabulary.toml: {file} no longer needs {word!r} (remove it)" for file, word in vocabulary.unneeded()
    ]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
