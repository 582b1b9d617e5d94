"""Recordings to upload are read in chunks, and copied only if they can be read once."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from smelt.backend.upload_source import CHUNK_BYTES, MAX_SPOOLED_BYTES, open_sources


async def parts(size_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, size_bytes, 1000):
        yield bytes(min(1000, size_bytes - start))


async def test_on_sent_is_called_after_a_chunk_was_consumed() -> None:
    sent: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        sent.append(sent_bytes)

    async with open_sources([("talk.mp3", bytes(CHUNK_BYTES + 1))]) as (source,):
        chunks = source.chunks(on_sent)
        assert len(await anext(chunks)) == CHUNK_BYTES
        assert sent == []
        assert len(await anext(chunks)) == 1
        assert sent == [CHUNK_BYTES]
        assert [chunk async for chunk in chunks] == []
    assert sent == [CHUNK_BYTES, CHUNK_BYTES + 1]


async def test_large_content_that_can_be_read_once_is_copied_to_a_temporary_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    async with open_sources([("small.mp3", parts(MAX_SPOOLED_BYTES))]) as (source,):
        assert source.size_bytes == MAX_SPOOLED_BYTES
    with pytest.raises(FileNotFoundError):
        async with open_sources([("large.mp3", parts(MAX_SPOOLED_BYTES + 1))]):
            pass


async def test_file_objects_stay_open_and_copies_are_closed(tmp_path: Path) -> None:
    (tmp_path / "talk.mp3").write_bytes(b"sound")
    with await asyncio.to_thread((tmp_path / "talk.mp3").open, "rb") as recording:
        async with open_sources([("talk.mp3", recording), ("copy.mp3", parts(5))]) as (given, copied):
            assert [chunk async for chunk in given.chunks()] == [b"sound"]
            assert [chunk async for chunk in copied.chunks()] == [bytes(5)]
        assert not recording.closed
        with pytest.raises(ValueError, match="closed"):
            await anext(copied.chunks())


async def test_file_object_is_accepted_once() -> None:
    opened = BytesIO(b"speech")
    with pytest.raises(TypeError, match="passed twice"):
        async with open_sources([("a.mp3", opened), ("b.mp3", opened)]):
            pass
    async with open_sources([("a.mp3", opened), ("b.mp3", b"speech"), ("c.mp3", b"speech")]) as sources:
        assert len(sources) == 3
