"""Folders that nobody wants to keep: removed in the end, or by a later start where a supervisor was killed."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from smelt.local import lock
from smelt.local.account import remove
from smelt.local.errors import LocalPermanentError
from smelt.local.paths import StackPaths

MARK: Final = "throw-away"
"""It is made by whoever holds the folder's lock: a folder with the mark and without a holder is nobody's."""


def remove_ephemeral(places: StackPaths, exits: AsyncExitStack) -> None:
    """Have a folder, whose lock we hold, removed when `exits` are taken, and remove meanwhile what others have left."""
    (places.folder / MARK).touch()
    exits.callback(_remove, places.folder)
    sweeping = asyncio.create_task(asyncio.to_thread(sweep, places.folder.parent))
    exits.callback(sweeping.cancel)


def sweep(folder: Path) -> None:
    """Remove the throw-away folders of this user in here whose supervisor is gone."""
    for left in _left(folder):
        # Another sweep, or a server that is still on its way out: a later one finishes it.
        with suppress(OSError):
            _remove(left)


def _left(folder: Path) -> Iterator[Path]:
    for mark in folder.glob(f"smelt-*/{MARK}"):
        # In the system's temporary folder anybody may make a folder of this name, with anything in it.
        with suppress(OSError, LocalPermanentError):
            places = StackPaths(mark.parent)
            is_ours = places.folder.lstat().st_uid == mark.lstat().st_uid == os.geteuid()
            if is_ours and lock.holder(places.lock) is None:
                yield places.folder


def _remove(folder: Path) -> None:
    """Remove a folder, lock and mark last: a removal that was cut short is found again."""
    for entry in folder.iterdir():
        if entry.is_dir():
            remove(entry)
    with suppress(FileNotFoundError):
        remove(folder)
