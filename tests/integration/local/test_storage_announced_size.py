"""No request to Storage stores more than a smelt has announced, and a rejected upload leaves nothing behind."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from smelt.local import StackHandle
from smelt.local.keys import Keys
from smelt.local.storage import Database, FileStore, UnfinishedUploads, create_storage
from tests.harness.stacks import running_local, sign_up

ANNOUNCED: Final = 200_000
SIZE_LIMIT: Final = 8 * 1024 * 1024
SIGN: Final = "/object/upload/sign/smelt-audio"


@dataclass
class Storage:
    """A Storage server with its own folder, over the database of smelt's project, and a user of that project."""

    http: httpx.AsyncClient
    project: httpx.AsyncClient
    service: dict[str, str]
    folder: Path

    async def announce(self, size_bytes: int) -> tuple[str, str]:
        """Create a smelt of one recording; return its id and upload path."""
        files = [{"filename": "talk.mp3", "size_bytes": size_bytes}]
        response = await self.project.post("/rest/v1/rpc/create_smelt", json={"files": files})
        created = response.raise_for_status().json()
        return created["id"], created["files"][0]["upload_path"]

    async def submit(self, smelt_id: str) -> int:
        """Submit a smelt; return the announced size, which is then the uploaded one."""
        response = await self.project.post("/rest/v1/rpc/submit_smelt", json={"smelt_id": smelt_id})
        size_bytes: int = response.raise_for_status().json()["files"][0]["size_bytes"]
        return size_bytes

    async def source(self, size_bytes: int) -> str:
        """Store a recording of another smelt; return its path."""
        _, path = await self.announce(size_bytes)
        (await plain(self, path, size_bytes)).raise_for_status()
        return path

    async def sign(self, path: str) -> tuple[str, str]:
        """Sign an upload; return its URL and token."""
        signed = (await self.http.post(f"{SIGN}/{path}")).raise_for_status().json()
        return signed["url"], signed["token"]

    async def create_resumable(self, path: str, folder: str = "", **headers: str) -> httpx.Response:
        """Create a resumable upload."""
        pairs = {"bucketName": "smelt-audio", "objectName": path, "contentType": "audio/mpeg"}
        metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())
        named = {"tus-resumable": "1.0.0", "upload-metadata": metadata} | headers
        return await self.http.post(f"/upload/resumable{folder}", headers=named)

    async def patch(self, url: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
        """Append bytes to a resumable upload."""
        kind = {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
        return await self.http.patch(url, content=content, headers={"tus-resumable": "1.0.0"} | kind | headers)

    def stored_bytes(self) -> int:
        """Return the number of bytes of all uploads and objects on disk."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".json"]
        return sum(path.stat().st_size for path in files)


Store = Callable[[Storage, str, int], Awaitable[httpx.Response]]


async def _stream(size_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body in pieces, which is sent without a length."""
    for start in range(0, size_bytes, 65536):
        yield b"x" * min(65536, size_bytes - start)


async def plain(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    return await storage.http.post(f"/object/smelt-audio/{path}", content=b"x" * size_bytes)


async def plain_chunked(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    return await storage.http.post(f"/object/smelt-audio/{path}", content=_stream(size_bytes))


async def form(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    return await storage.http.post(f"/object/smelt-audio/{path}", files={"file": b"x" * size_bytes})


async def as_service(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    url = f"/object/smelt-audio/{path}"
    return await storage.http.post(url, content=_stream(size_bytes), headers=storage.service)


async def signed(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    url, _ = await storage.sign(path)
    return await storage.http.put(url, content=b"x" * size_bytes)


async def signed_chunked(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    url, _ = await storage.sign(path)
    return await storage.http.put(url, content=_stream(size_bytes))


async def resumable(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    created = await storage.create_resumable(path, **{"upload-length": str(size_bytes)})
    if created.is_error:
        return created
    return await storage.patch(created.headers["location"], 0, b"x" * size_bytes)


async def resumable_deferred(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    created = await storage.create_resumable(path, **{"upload-defer-length": "1"})
    url = created.raise_for_status().headers["location"]
    first = await storage.patch(url, 0, b"x" * (size_bytes - 1))
    if first.is_error:
        return first
    return await storage.patch(url, size_bytes - 1, b"x", **{"upload-length": str(size_bytes)})


async def resumable_signed(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    _, token = await storage.sign(path)
    headers = {"x-signature": token, "upload-defer-length": "1"}
    created = (await storage.create_resumable(path, "/sign", **headers)).raise_for_status()
    length = {"x-signature": token, "upload-length": str(size_bytes)}
    return await storage.patch(created.headers["location"], 0, b"x" * size_bytes, **length)


async def copy(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    """The owner reads the audio of all own smelts."""
    return await storage.http.post("/object/copy", json=await _route(storage, path, size_bytes))


async def move(storage: Storage, path: str, size_bytes: int) -> httpx.Response:
    """Clients move nothing; the service may."""
    return await storage.http.post(
        "/object/move", json=await _route(storage, path, size_bytes), headers=storage.service
    )


async def _route(storage: Storage, path: str, size_bytes: int) -> dict[str, str]:
    source = await storage.source(size_bytes)
    return {"bucketId": "smelt-audio", "sourceKey": source, "destinationKey": path}


STORES: Final[dict[str, Store]] = {
    store.__name__: store
    for store in (
        plain,
        plain_chunked,
        form,
        as_service,
        signed,
        signed_chunked,
        resumable,
        resumable_deferred,
        resumable_signed,
        copy,
        move,
    )
}


@pytest.fixture(scope="module")
def smelt_stack() -> Iterator[StackHandle]:
    """A stack of smelt's project."""
    with running_local() as stack:
        yield stack


@pytest.fixture
async def storage(smelt_stack: StackHandle, tmp_path: Path) -> AsyncIterator[Storage]:
    """A server with a new user."""
    files = FileStore(tmp_path)
    files.prepare()
    unfinished = UnfinishedUploads(tmp_path / ".resumable")
    unfinished.restore(set())
    user = {"authorization": f"Bearer {sign_up(smelt_stack).access_token}"}
    service = {"authorization": f"Bearer {smelt_stack.service_role_key}"}
    async with AsyncConnectionPool(smelt_stack.admin_dsn, min_size=1, max_size=4, open=False) as pool:
        app: Any = create_storage(Database(pool), files, unfinished, Keys(), SIZE_LIMIT)
        transport = httpx.ASGITransport(app)
        key = {"apikey": smelt_stack.anon_key}
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://storage", headers=user) as http,
            httpx.AsyncClient(base_url=smelt_stack.api_url, headers=user | key, timeout=60) as project,
        ):
            yield Storage(http, project, service, tmp_path)


def _is_denied(response: httpx.Response) -> bool:
    """Return True for the status 403, which resumable uploads have and the other responses name in their body."""
    return response.status_code == 403 or (response.status_code == 400 and response.json()["statusCode"] == "403")


@pytest.mark.parametrize("excess_bytes", [1, 100_000], ids=["slightly", "obviously"])
@pytest.mark.parametrize("store", STORES.values(), ids=STORES.keys())
async def test_storage_rejects_more_bytes_than_announced(storage: Storage, store: Store, excess_bytes: int) -> None:
    """The smelt can still be uploaded and submitted, by the same request and with the announced size."""
    smelt_id, path = await storage.announce(ANNOUNCED)
    rejected = await store(storage, path, ANNOUNCED + excess_bytes)
    assert _is_denied(rejected), rejected.text
    is_transfer = store in (copy, move)
    source_bytes = ANNOUNCED + excess_bytes if is_transfer else 0
    assert storage.stored_bytes() == source_bytes, "bytes are left on disk"
    assert (await storage.http.get(f"/object/info/smelt-audio/{path}")).is_error

    accepted = await store(storage, path, ANNOUNCED)
    assert accepted.is_success, accepted.text
    assert await storage.submit(smelt_id) == ANNOUNCED
