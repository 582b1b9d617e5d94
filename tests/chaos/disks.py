"""Small disks, which faults fill: that of a worker's temporary files, and that of Storage."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from psycopg.conninfo import conninfo_to_dict

from smelt.local import StackHandle
from tests.harness.processes import run

WORKER_DISK_FULL: Final = "disk of a worker full"
STORAGE_DISK_FULL: Final = "disk of Storage full"
WORKER_DISK_BYTES: Final = 80 << 20
STORAGE_DISK_BYTES: Final = 32 << 20
# The folders that Storage has made at its start; a disk that is mounted later hides them.
STORAGE_FOLDERS: Final = (".incoming", ".resumable")


@dataclass(frozen=True)
class Disks:
    """The mounted disks, and why others are not, by the faults that fill them."""

    mounted: Mapping[str, Path]
    skipped: Mapping[str, str]


@contextmanager
def small_disks(stack: StackHandle, folder: Path) -> Iterator[Disks]:
    """Mount a disk below a folder for a worker, and one for the objects of a stack that has none yet."""
    storage = storage_folder(stack)
    with (
        _small_disk(folder / "disk", WORKER_DISK_BYTES) as no_worker_disk,
        _small_disk(storage, STORAGE_DISK_BYTES, STORAGE_FOLDERS) as no_storage_disk,
    ):
        folders = {WORKER_DISK_FULL: folder / "disk", STORAGE_DISK_FULL: storage}
        reasons = {WORKER_DISK_FULL: no_worker_disk, STORAGE_DISK_FULL: no_storage_disk}
        yield Disks(
            {fault: folders[fault] for fault, reason in reasons.items() if reason is None},
            {fault: reason for fault, reason in reasons.items() if reason is not None},
        )


@contextmanager
def _small_disk(folder: Path, size_bytes: int, folders: Sequence[str] = ()) -> Iterator[str | None]:
    """Mount a small disk with folders at a folder; yield why that is not possible, None if it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        yield "needs root"
        return
    mounted = run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)])
    if mounted.returncode != 0:
        yield f"needs the right to mount: {mounted.stderr.strip()}"
        return
    try:
        for name in folders:
            (folder / name).mkdir()
        yield None
    finally:
        run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a disk during the block."""
    filler = disk / "filler"
    with suppress(OSError):
        filler.write_bytes(bytes(shutil.disk_usage(disk).free))
    try:
        yield
    finally:
        filler.unlink()


def storage_folder(stack: StackHandle) -> Path:
    """Return the folder with the objects of a stack of a cluster."""
    arguments = psutil.Process(stack.state.pid).cmdline()
    folder = Path(arguments[arguments.index("--folder") + 1])
    return folder / "storage" / database_name(stack)


def database_name(stack: StackHandle) -> str:
    """Return the name of a stack's database, which is also that of its other parts in a cluster."""
    return str(conninfo_to_dict(stack.admin_dsn)["dbname"])
