"""Removes the folders of ephemeral stacks: when they stop, or at a later start if the supervisor was killed."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from smelt.local.account import remove
from smelt.local.errors import LocalPermanentError
from smelt.local.paths import StackPaths
from smelt.local.processes import lock

MARKER: Final = "ephemeral"
"""Name of the marker file, written under the folder's lock. A folder with a marker and a free lock is abandoned."""


def remove_ephemeral(paths: StackPaths, exit_stack: AsyncExitStack) -> None:
    """Remove a locked folder when `exit_stack` closes, and sweep abandoned folders in the background until then."""
    (paths.folder / MARKER).touch()
    exit_stack.callback(_remove, paths.folder)
    sweep_task = asyncio.create_task(asyncio.to_thread(sweep, paths.folder.parent))
    exit_stack.callback(sweep_task.cancel)


def sweep(folder: Path) -> None:
    """Remove this user's ephemeral stack folders in `folder` whose supervisor is gone."""
    for abandoned in _abandoned(folder):
        # Another sweep is at work, or a server is still stopping; a later sweep removes the rest.
        with suppress(OSError):
            _remove(abandoned)


def _abandoned(folder: Path) -> Iterator[Path]:
    for marker in folder.glob(f"smelt-*/{MARKER}"):
        # In the system's temporary folder any user can create a folder of this name, with any contents.
        with suppress(OSError, LocalPermanentError):
            paths = StackPaths(marker.parent)
            is_ours = paths.folder.lstat().st_uid == marker.lstat().st_uid == os.geteuid()
            if is_ours and lock.holder(paths.lock) is None:
                yield paths.folder


def _remove(folder: Path) -> None:
    """Remove a folder; lock and marker come last, so that a later sweep finishes an interrupted removal."""
    for entry in folder.iterdir():
        if entry.is_dir():
            remove(entry)
    with suppress(FileNotFoundError):
        remove(folder)
