"""A full disk: starts fail with one sentence, and uploads are rejected."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from processes import run

from smelt.local import LocalPermanentError, LocalStack

MIB = 1024 * 1024
DISK_BYTES = 200 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or run(mount).returncode != 0:
        pytest.skip("makes a disk of its own: needs root and the right to mount")
    yield folder
    run(["umount", "--lazy", folder], check=True)


async def test_start_on_a_full_disk_is_rejected_with_one_sentence(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (disk / "full").write_bytes(bytes(DISK_BYTES - 10 * MIB))
    with pytest.raises(LocalPermanentError, match=r"is full: a stack needs 64 MiB, and only \d+ MiB are free$"):
        async with LocalStack.from_env(disk / "stack", migrations=tmp_path / "supabase"):
            pass


async def test_upload_that_fills_the_disk_fails_and_removes_its_file(disk: Path, tmp_path: Path) -> None:
    """The failed upload leaves no file, so the space is free again."""
    (tmp_path / "supabase").mkdir()

    async def too_much() -> AsyncIterator[bytes]:
        for _ in range(DISK_BYTES // MIB):
            yield bytes(MIB)

    async with LocalStack.from_env(disk / "stack", migrations=tmp_path / "supabase") as stack:
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
