"""The documents of the repository: their code blocks, and which test executes each.

The line before a code block is a comment that names the tests which execute it, or states why none does:

    <!-- test: test_name -->
    <!-- not run: reason -->
"""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = re.compile(r"(?:^<!-- (?P<marker>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


class CodeBlock(NamedTuple):
    """A code block, the line where it begins, and the comment before it."""

    document: Path
    line: int
    marker: str
    code: str

    @property
    def tests(self) -> list[str]:
        """The names of the tests that execute it."""
        kind, _, names = self.marker.partition(": ")
        return names.split(", ") if kind == "test" else []

    @property
    def reason(self) -> str:
        """Why no test executes it."""
        kind, _, reason = self.marker.partition(": ")
        return reason if kind == "not run" else ""


@cache
def documents() -> list[Path]:
    """Return the Markdown files that git tracks or does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return [path for name in sorted(set(listed.stdout.splitlines())) if (path := ROOT / name).is_file()]


def code_blocks(document: Path) -> Iterator[CodeBlock]:
    """Yield the code blocks of a document in order."""
    text = document.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = 1 + text.count("\n", 0, match.start("language"))
        yield CodeBlock(document, line, match["marker"] or "", match["code"])


def code_for(test: str) -> list[str]:
    """Return the code blocks that a test executes, in order; fail if no document has one."""
    blocks = [block.code for document in documents() for block in code_blocks(document) if test in block.tests]
    assert blocks, f"no document has a code block for {test}"
    return blocks
