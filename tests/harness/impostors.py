"""Files that another user may create at a path where a program expects its own file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SECRET = "the target of the link"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    target = path.with_name(f"{path.name}-target")
    target.write_text(SECRET)
    target.chmod(0o600)
    path.symlink_to(target)


def _dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name(f"{path.name}-target"))


def _foreign_file(path: Path) -> None:
    path.write_text("1\n")
    os.chown(path, 1, -1)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="run by root, which can make files of another user")

IMPOSTORS: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "link": _link,
    "dangling link": _dangling_link,
    "foreign file": _foreign_file,
}

each_impostor = pytest.mark.parametrize(
    "plant",
    [
        pytest.param(plant, id=name, marks=needs_root if plant is _foreign_file else ())
        for name, plant in IMPOSTORS.items()
    ],
)
"""Passes `plant(path)` to a test, once for each kind of file."""


def assert_untouched(path: Path) -> None:
    """Assert that the target of a link is unchanged, and that a dangling link still has none."""
    target = path.with_name(f"{path.name}-target")
    assert not target.exists() or target.read_text() == SECRET
