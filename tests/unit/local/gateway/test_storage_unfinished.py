"""The files of unfinished uploads, and their repair after a crash."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from uuid import uuid4

import pytest

from smelt.local.storage.files import WRITE_BYTES
from smelt.local.storage.tus import TusError
from smelt.local.storage.unfinished import EXPIRY_S, MAX_PER_CREATOR, ResumableUpload, UnfinishedUploads


def _upload(**fields: object) -> ResumableUpload:
    upload = ResumableUpload(
        version=str(uuid4()),
        bucket_id="b",
        key="k",
        length=10,
        creator=("anon", None),
        metadata={"contentType": "audio/webm", "flag": None},
        created_at=1000.0,
    )
    return replace(upload, **fields)  # type: ignore[arg-type]


def _description(**fields: object) -> bytes:
    return json.dumps(asdict(_upload()) | fields).encode()


@pytest.fixture
def store(tmp_path: Path) -> UnfinishedUploads:
    """A new store, at the time 1000."""
    uploads = UnfinishedUploads(tmp_path, clock=lambda: 1000.0)
    uploads.restore(set())
    return uploads


async def _append(store: UnfinishedUploads, upload: ResumableUpload, content: bytes) -> None:
    async with store.open(upload.version) as file:
        await file.write(content)


async def test_unfinished_upload_continues_after_a_restart(store: UnfinishedUploads, tmp_path: Path) -> None:
    """The description is unchanged, and the offset is the number of stored bytes."""
    upload = _upload(length=WRITE_BYTES * 2)
    await store.create(upload)
    await _append(store, upload, b"x" * (WRITE_BYTES + 7))
    again = UnfinishedUploads(tmp_path, clock=lambda: 1000.0)
    again.restore(set())
    assert await again.find(upload.version) == upload
    assert await again.offset(upload) == WRITE_BYTES + 7


async def test_unfinished_upload_with_all_bytes_but_no_object_loses_one_byte(store: UnfinishedUploads) -> None:
    """A client that finds all bytes sends nothing more, and the object would never appear."""
    upload = _upload()
    await store.create(upload)
    await _append(store, upload, b"0123456789")
    store.restore(set())
    assert await store.offset(upload) == 9


async def test_unfinished_upload_whose_bytes_became_an_object_is_finished(store: UnfinishedUploads) -> None:
    """If the object has no row, the upload is gone."""
    with_row, without_row = _upload(), _upload()
    for upload in (with_row, without_row):
        await store.create(upload)
        store.bytes_path(upload.version).unlink()
    store.restore({with_row.version})
    found = await store.find(with_row.version)
    assert (found.is_finished, await store.offset(found)) == (True, 10)
    with pytest.raises(TusError):
        await store.find(without_row.version)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_unfinished_uploads_restore_removes_expired_and_orphaned_files(
    store: UnfinishedUploads, tmp_path: Path
) -> None:
    kept, expired = _upload(), _upload(created_at=1000.0 - EXPIRY_S)
    for upload in (kept, expired):
        await store.create(upload)
    (tmp_path / "orphan.bytes").write_bytes(b"x")
    (tmp_path / f"{kept.version}.tmp").write_bytes(b"{")
    (tmp_path / "broken.json").write_bytes(b"{")
    store.restore(set())
    assert _names(tmp_path) == [f"{kept.version}.bytes", f"{kept.version}.json"]


@pytest.mark.parametrize(
    "damaged",
    [
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"creator": null}',
        _description(creator=None),
        _description(created_at="yesterday"),
        _description(length="ten"),
        _description(metadata=[]),
    ],
)
async def test_unfinished_upload_with_a_damaged_state_is_not_found_and_removed_at_a_start(
    store: UnfinishedUploads, tmp_path: Path, damaged: bytes
) -> None:
    upload, damaged_upload = _upload(), _upload()
    for each in (upload, damaged_upload):
        await store.create(each)
    (tmp_path / f"{damaged_upload.version}.json").write_bytes(damaged)
    with pytest.raises(TusError, match="was not found"):
        await store.find(damaged_upload.version)
    assert await store.sweep() == 0
    store.restore(set())
    assert _names(tmp_path) == [f"{upload.version}.bytes", f"{upload.version}.json"]


async def test_unfinished_uploads_of_one_creator_are_bounded(store: UnfinishedUploads, tmp_path: Path) -> None:
    """Also after a restart; of simultaneous creations, one is the last; the service role has no bound."""
    user, service = ("authenticated", "alice"), ("service_role", None)
    for creator in (user, service):
        for number in range(MAX_PER_CREATOR - 1):
            await store.create(_upload(key=f"{number}", creator=creator))
    uploads = [_upload(key=key, creator=user) for key in "abc"]
    results = await asyncio.gather(*(store.create(upload) for upload in uploads), return_exceptions=True)
    assert [str(result).partition(":")[0] for result in results] == [
        "None",
        *["You have reached the maximum of 1000 unfinished uploads of this user"] * 2,
    ]
    for key in "abc":
        await store.create(_upload(key=key, creator=service))
    again = UnfinishedUploads(tmp_path, clock=lambda: 1000.0)
    again.restore(set())
    with pytest.raises(TusError, match="maximum of 1000 unfinished uploads of this user"):
        await again.create(_upload(creator=user))
    await again.create(_upload(creator=("authenticated", "bob")))
    await again.terminate(uploads[0].version)
    await again.create(_upload(creator=user))


async def test_partial_file_undo_removes_the_bytes_of_one_request(store: UnfinishedUploads) -> None:
    upload = _upload(length=WRITE_BYTES * 4)
    await store.create(upload)
    await _append(store, upload, b"0123")
    async with store.open(upload.version) as file:
        await file.write(b"x" * (WRITE_BYTES + 1))
        await file.undo()
    assert store.bytes_path(upload.version).read_bytes() == b"0123"


async def test_exclusive_lets_the_newest_of_many_requests_win(store: UnfinishedUploads) -> None:
    """All older ones stop, including those that wait."""
    stopped: list[int] = []

    async def request(number: int) -> None:
        async with store.exclusive("v") as stop:
            await stop.wait()
            stopped.append(number)

    older = []
    for number in range(3):
        older.append(asyncio.create_task(request(number)))
        await asyncio.sleep(0)
    async with store.exclusive("v") as stop:
        assert not stop.is_set()
    await asyncio.gather(*older)
    assert stopped == [0, 1, 2]
