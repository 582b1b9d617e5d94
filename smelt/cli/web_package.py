"""The JavaScript package `smelt-js` as files: copied into an app, or packed for `npm install`."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Final

from smelt.errors import PermanentError

NAME: Final = "smelt-js"

_FOLDER: Final = Path(__file__).resolve().parents[1] / "web"
_SUFFIXES: Final = frozenset((".js", ".ts", ".json", ".md"))


def package_files() -> dict[str, bytes]:
    """Return the content of each file of the package by its path in the package, in order."""
    files = sorted(path for path in _FOLDER.rglob("*") if path.suffix in _SUFFIXES)
    return {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in files}


def copy_package(folder: Path) -> int:
    """Write the package into a folder; return the number of files.

    An earlier copy is replaced; raise `PermanentError` if the folder contains anything else.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _is_package(folder))):
        raise PermanentError(f"{folder} contains other files: pass a new or empty folder, or an earlier copy")
    files = package_files()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return len(files)


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


def _is_package(folder: Path) -> bool:
    try:
        about = json.loads((folder / "package.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("name") == NAME
