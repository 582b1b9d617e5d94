"""Opens the files of a stack, unless another user may have replaced them.

Each function takes the users whose files are trusted, by default the current one. It raises `LocalPermanentError` for
another user's file, a symbolic link or a named pipe.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from smelt.local.errors import LocalPermanentError
from smelt.trusted_files import trusted_opener


def open_text(path: Path, mode: Literal["r", "r+", "w", "a+"], *owners: int) -> TextIO:
    """Open a text file."""
    return open(path, mode, encoding="utf-8", opener=_opener(*owners))


def open_binary(path: Path, mode: Literal["rb", "ab"], *owners: int) -> BinaryIO:
    """Open a binary file."""
    return open(path, mode, opener=_opener(*owners))


def read_text(path: Path, *owners: int) -> str:
    """Return the text of a file."""
    with open_text(path, "r", *owners) as file:
        return file.read()


def _opener(*owners: int) -> Callable[[str, int], int]:
    open_checked = trusted_opener(*owners)

    def open_or_raise(path: str, flags: int) -> int:
        try:
            return open_checked(path, flags)
        except PermissionError as exc:
            raise LocalPermanentError(f"{exc}; remove it, or choose another folder") from exc

    return open_or_raise
