"""The files that hold the contents of objects."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

import pytest

from smelt.local.storage.files import READ_BYTES, WRITE_BYTES, FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A new store."""
    files = FileStore(tmp_path)
    files.prepare()
    return files


async def _put(store: FileStore, key: str, version: str, content: bytes) -> str:
    async with store.receive() as incoming:
        for start in range(0, len(content), 100_000):
            await incoming.write(content[start : start + 100_000])
        md5 = await incoming.finish()
        await store.place(incoming.path, "bucket", key, version)
    return md5


async def _get(store: FileStore, key: str, version: str, first: int = 0, length: int = 1 << 40) -> bytes:
    opened = await store.open("bucket", key, version)
    return b"".join([chunk async for chunk in opened.read(first, length)])


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_file_store_returns_the_stored_bytes(store: FileStore) -> None:
    """The contents exceed the sizes of writes and reads."""
    content = bytes(range(256)) * ((WRITE_BYTES + READ_BYTES) // 256 + 3)
    assert await _put(store, "a", "v1", content) == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert await _get(store, "a", "v1") == content
    assert await _get(store, "a", "v1", READ_BYTES - 5, 10) == content[READ_BYTES - 5 : READ_BYTES + 5]


async def test_file_store_removes_the_file_of_an_upload_that_breaks_off(store: FileStore, tmp_path: Path) -> None:
    """Neither an object nor a temporary file is left."""
    with suppress(ConnectionError):
        async with store.receive() as incoming:
            await incoming.write(b"half")
            raise ConnectionError
    assert _files(tmp_path) == []


async def test_file_store_cleanup_removes_partial_and_orphaned_files(store: FileStore, tmp_path: Path) -> None:
    """Incomplete files and versions without a row are removed, versions with a row stay."""
    await _put(store, "kept", "v1", b"x")
    await _put(store, "lost", "v2", b"x")
    (tmp_path / ".incoming" / "half").write_bytes(b"half")
    again = FileStore(tmp_path)
    again.prepare()
    assert again.sweep({"v1"}) == 1
    assert [path.name for path in _files(tmp_path)] == ["v1"]


async def test_file_store_reader_survives_removal(store: FileStore) -> None:
    """A download in progress completes with the same contents."""
    await _put(store, "a", "v1", b"old")
    opened = await store.open("bucket", "a", "v1")
    await store.remove("bucket", "a", "v1")
    assert [chunk async for chunk in opened.read(0, 3)] == [b"old"]
    with pytest.raises(FileNotFoundError):
        await store.open("bucket", "a", "v1")


async def test_file_store_place_and_remove_run_concurrently(store: FileStore, tmp_path: Path) -> None:
    """The folder of a key may be removed between any two steps of a writer."""

    async def write_and_remove(number: int) -> None:
        version = f"v{number}"
        await _put(store, "a", version, b"x")
        await store.remove("bucket", "a", version)

    await asyncio.gather(*(write_and_remove(number) for number in range(60)))
    assert _files(tmp_path) == []


@pytest.mark.parametrize("bucket", ["..", ".", ".incoming", "a/b", "../../etc"])
async def test_file_store_confines_every_bucket_to_its_folder(store: FileStore, tmp_path: Path, bucket: str) -> None:
    """A bucket that was created in SQL can have any name."""
    async with store.receive() as incoming:
        await incoming.finish()
        await store.place(incoming.path, bucket, "../../a", "v1")
    placed = [path.relative_to(tmp_path) for path in _files(tmp_path)]
    assert len(placed) == 1
    assert len(placed[0].parts) == 3
    assert not placed[0].parts[0].startswith(".")


async def test_file_store_link_survives_removal_of_its_source(store: FileStore) -> None:
    """A copy does not depend on its source."""
    await _put(store, "a", "v1", b"same")
    await store.link(("bucket", "a", "v1"), ("bucket", "b", "v2"))
    await store.remove("bucket", "a", "v1")
    assert await _get(store, "b", "v2") == b"same"


async def test_file_store_logs_a_file_that_cannot_be_removed(
    store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A request has already committed its changes, and a start must not depend on a file that no object needs."""
    await _put(store, "a", "v1", b"x")
    [path] = _files(tmp_path)
    path.unlink()
    path.mkdir()  # It can't be removed like a file.
    await store.remove("bucket", "a", "v1")
    assert store.sweep(set()) == 0
    assert caplog.text.count(f"the file {path} could not be removed") == 2
