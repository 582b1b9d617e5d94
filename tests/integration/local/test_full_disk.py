"""A full disk: starts fail with one sentence, and uploads are rejected."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from smelt.local import LocalPermanentError, LocalStack
from smelt.local.storage import FileStore, UnfinishedUploads
from smelt.local.storage.errors import StorageError
from smelt.local.storage.unfinished import ResumableUpload
from tests.harness.processes import run
from tests.harness.stacks import POSTGREST

MIB = 1024 * 1024
DISK_BYTES = 200 * MIB


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or run(mount).returncode != 0:
        pytest.skip("makes a disk of its own: needs root and the right to mount")
    yield folder
    run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    with _mounted(tmp_path / "disk", f"size={DISK_BYTES}") as folder:
        yield folder


@pytest.fixture
def disk_of_few_files(tmp_path: Path) -> Iterator[Path]:
    """A file system that accepts about 30 files and folders."""
    with _mounted(tmp_path / "disk", "nr_inodes=32") as folder:
        yield folder


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """Fill a disk with empty files during the block."""
    fillers = [disk / f"filler{number}" for number in range(100)]
    with suppress(OSError):
        for filler in fillers:
            filler.touch()
    yield
    for filler in fillers:
        filler.unlink(missing_ok=True)


async def test_full_disk_rejects_each_new_file_of_storage(disk_of_few_files: Path) -> None:
    """Objects, copies, and new or changed resumable uploads; what was stored before is intact, and nothing is left."""
    files = FileStore(disk_of_few_files)
    files.prepare()
    unfinished = UnfinishedUploads(disk_of_few_files / ".resumable")
    unfinished.restore(set())
    first, second = _upload("first"), _upload("second")
    await unfinished.create(first)
    async with unfinished.open(first.version) as file:
        await file.write(b"0123456789")
    with _filled(disk_of_few_files):
        before = _paths(disk_of_few_files)
        for rejected in (
            files.receive().__aenter__(),
            files.place(unfinished.bytes_path(first.version), "b", "first", first.version),
            files.link(("b", "k", "v"), ("b", "copy", "v2")),
            unfinished.save(replace(first, length=10)),
            _create_or_remove(unfinished, second),
        ):
            with pytest.raises(StorageError, match=r"^The disk is full$"):
                await rejected
        assert _paths(disk_of_few_files) == before
    assert unfinished.bytes_path(first.version).read_bytes() == b"0123456789"
    assert await unfinished.find(first.version) == first
    await unfinished.create(second)


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


async def _create_or_remove(unfinished: UnfinishedUploads, upload: ResumableUpload) -> None:
    try:
        await unfinished.create(upload)
    except BaseException:
        await unfinished.remove(upload.version)
        raise


def _upload(key: str) -> ResumableUpload:
    return ResumableUpload(
        version=str(uuid4()),
        bucket_id="b",
        key=key,
        length=None,
        creator=("anon", None),
        metadata={},
        created_at=time.time(),
    )


async def test_start_on_a_full_disk_is_rejected_with_one_sentence(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (disk / "full").write_bytes(bytes(DISK_BYTES - 10 * MIB))
    with pytest.raises(LocalPermanentError, match=r"is full: a stack needs 64 MiB, and only \d+ MiB are free$"):
        async with LocalStack(disk / "stack", migrations=tmp_path / "supabase", postgrest=POSTGREST):
            pass


async def test_upload_that_fills_the_disk_fails_and_removes_its_file(disk: Path, tmp_path: Path) -> None:
    """The failed upload leaves no file, so the space is free again."""
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text('[storage]\nfile_size_limit = "500MiB"')

    async def too_much() -> AsyncIterator[bytes]:
        for _ in range(DISK_BYTES // MIB):
            yield bytes(MIB)

    async with LocalStack(disk / "stack", migrations=tmp_path / "supabase", postgrest=POSTGREST) as stack:
        service = {"apikey": stack.secret_key}
        async with httpx.AsyncClient(base_url=f"{stack.api_url}/storage/v1", headers=service, timeout=60) as http:
            (await http.post("/bucket", json={"name": "b"})).raise_for_status()
            response = await http.post("/object/b/large", content=too_much())
            assert (response.status_code, response.json()["statusCode"]) == (500, "500")
            assert "disk is full" in response.json()["message"]
            assert (await http.get("/object/b/large")).json()["code"] == "NoSuchKey"
            assert not list((disk / "stack" / "storage" / ".incoming").iterdir())
            metadata = {"tus-resumable": "1.0.0", "upload-metadata": "bucketName Yg==,objectName bGFyZ2U="}
            created = await http.post("/upload/resumable", headers=metadata | {"upload-length": str(DISK_BYTES)})
            part = {"content-type": "application/offset+octet-stream", "upload-offset": "0", "tus-resumable": "1.0.0"}
            response = await http.patch(created.headers["location"], content=too_much(), headers=part)
            assert (response.status_code, response.text) == (500, "The disk is full")
            assert (await http.head(created.headers["location"], headers=part)).headers["upload-offset"] == "0"
            (await http.post("/object/b/small", content=b"fits")).raise_for_status()
            assert (await http.get("/object/b/small")).content == b"fits"
