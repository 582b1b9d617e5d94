"""A server that rejects an upload early and reads nothing more from its connection delays no later request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from smelt.backend.audio import AudioStore
from smelt.backend.pool import Pool
from smelt.errors import RequestRejected

_DUPLICATE = b'{"statusCode": "409", "error": "Duplicate", "message": "The resource already exists"}'
_INFO = b'{"version": "v1"}'


@asynccontextmanager
async def _storage(*, length: bool) -> AsyncIterator[str]:
    """Serve a Storage whose connections end in silence after an error; without `length`, its errors are chunked."""

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(cast(asyncio.Task[None], asyncio.current_task()))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    writer.write(_rejection(length=length))
                    await reader.read()  # Until the client closes: further requests get no response.
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_INFO), _INFO))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.wait_for(asyncio.gather(*served), 15)


def _rejection(*, length: bool) -> bytes:
    head = b"HTTP/1.1 409 Conflict\r\nConnection: keep-alive\r\n"
    if length:
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(_DUPLICATE), _DUPLICATE)
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(_DUPLICATE), _DUPLICATE)


async def test_rejected_upload_closes_its_connection(tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"\0" * 500_000)
    async with (
        _storage(length=True) as url,
        aclosing(Pool(None, 30.0)) as pool,
        aclosing(Pool(None, 30.0, shared=pool)) as http,
    ):
        store = AudioStore(url, http)
        with pytest.raises(RequestRejected, match="already exists"):
            await store.upload("a.wav", recording)
        assert await asyncio.wait_for(store.version("a.wav"), 15) == "v1"


async def test_rejected_upload_keeps_the_sentence_of_a_chunked_error(tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"\0" * 1000)
    async with _storage(length=False) as url, aclosing(Pool(None, 30.0)) as http:
        with pytest.raises(RequestRejected, match="already exists"):
            await AudioStore(url, http).upload("a.wav", recording)
