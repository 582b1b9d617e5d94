"""The JavaScript package `smelt-js` as files: copied into an app, or packed for `npm install`."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from smelt.errors import PermanentError

NAME: Final = "smelt-js"

_FOLDER: Final = Path(__file__).resolve().parent / "web"
PAGE: Final = _FOLDER / "page"
"""The page of the gateway, which is not part of the package."""
_ABOUT: Final = "package.json"
_SUFFIXES: Final = frozenset((".js", ".ts", ".json", ".md"))


def package_files() -> dict[str, bytes]:
    """Return the content of each file of the package by its path in the package, in order.

    `package.json` lists them as `files`, so that a later copy can remove those that it no longer has.
    """
    paths = sorted(path for path in _FOLDER.rglob("*") if path.suffix in _SUFFIXES and path.parent != PAGE)
    files = {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in paths}
    about = {**json.loads(files[_ABOUT]), "files": list(files)}
    return {**files, _ABOUT: json.dumps(about, indent=2).encode() + b"\n"}


def copy_package(folder: Path) -> int:
    """Write the package into a folder; return the number of files.

    An earlier copy is replaced, and its files that the package no longer has are removed; raise `PermanentError` if the
    folder contains anything else.
    """
    check_target(folder)
    files = package_files()
    for name in sorted(_copied_files(folder) - set(files)):
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return len(files)


def check_target(folder: Path) -> None:
    """Raise `PermanentError` if the package must not be copied into a folder, or can't be."""
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not present.is_dir():
        raise PermanentError(f"{present} is a file: pass a folder with --js")
    if present == folder and any(folder.iterdir()) and _about(folder).get("name") != NAME:
        raise PermanentError(f"{folder} contains other files: pass a new or empty folder, or an earlier copy")
    if not os.access(present, os.W_OK | os.X_OK):
        raise PermanentError(f"{present} can't be written: pass another folder with --js")


def packed_package() -> bytes:
    """Return the package as `npm pack` would; equal files give equal bytes."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in package_files().items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), compresslevel=9, mtime=0)


def _about(folder: Path) -> dict[str, object]:
    """Return the `package.json` of a folder; empty if there is none."""
    try:
        about = json.loads((folder / _ABOUT).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _copied_files(folder: Path) -> set[str]:
    """Return the paths that an earlier copy has written, without any that lead out of the folder."""
    names = _about(folder).get("files")
    if not isinstance(names, list):
        return set()
    paths = [PurePosixPath(name) for name in names if isinstance(name, str)]
    return {str(path) for path in paths if path.name and not path.is_absolute() and ".." not in path.parts}
