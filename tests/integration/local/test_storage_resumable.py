"""Resumable uploads beyond the recordings: cuts, concurrent requests, refusals, expiry, and the files on disk."""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from smelt.local import StackHandle
from smelt.local.keys import Keys
from smelt.local.storage import Database, FileStore, UnfinishedUploads, create_storage
from smelt.local.storage.resumable import GROWTH_CHECK_BYTES
from smelt.local.storage.unfinished import EXPIRY_S, MAX_PER_OBJECT

MIB = 1024 * 1024
TIMEOUT_S = 30.0
SIZE_LIMIT = 8 * MIB
ALICE, BOB = str(uuid4()), str(uuid4())


@dataclass
class Storage:
    """A Storage server with its own folder and clock, over the database of the stack."""

    http: httpx.AsyncClient
    folder: Path
    unfinished: UnfinishedUploads
    bucket: str
    database: psycopg.Connection
    now: float

    def headers(self, user: str = ALICE, **more: str) -> dict[str, str]:
        """Return the headers of a user's request."""
        token = Keys().sign({"role": "authenticated", "sub": user, "exp": int(time.time()) + 3600})
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"authorization": f"Bearer {token}", "tus-resumable": "1.0.0"} | named

    async def create(self, key: str = "a.webm", **more: str) -> httpx.Response:
        """Create an upload of Alice."""
        pairs = {"bucketName": self.bucket, "objectName": key, "contentType": "audio/webm"}
        metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())
        return await self.http.post("/upload/resumable", headers=self.headers(upload_metadata=metadata, **more))

    async def url(self, **more: str) -> str:
        """Create an upload of Alice and return its URL."""
        created = await self.create(**more)
        assert created.status_code == 201, created.text
        return created.headers["location"]

    async def patch(
        self, url: str, offset: int, content: bytes | AsyncIterator[bytes], user: str = ALICE, **more: str
    ) -> httpx.Response:
        """Append bytes to an upload."""
        kind = {"content_type": "application/offset+octet-stream", "upload_offset": str(offset)}
        return await self.http.patch(url, content=content, headers=self.headers(user, **kind, **more))

    async def patch_half(self, url: str) -> tuple[asyncio.Task[httpx.Response], asyncio.Event]:
        """Send 10 of 20 bytes in a request, and return it and the event after which it sends the others."""
        sent, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"0123456789"
            sent.set()
            await go_on.wait()
            yield b"0123456789"

        request = asyncio.create_task(self.patch(url, 0, body()))
        await asyncio.wait_for(sent.wait(), TIMEOUT_S)
        return request, go_on

    async def head(self, url: str) -> httpx.Response:
        """Read the offset of an upload."""
        return await self.http.head(url, headers=self.headers())

    async def stored_object(self, key: str = "a.webm") -> bytes:
        """Download an object as the service role."""
        token = Keys().sign({"role": "service_role", "exp": int(time.time()) + 3600})
        path = f"/object/{self.bucket}/{key}"
        response = await self.http.get(path, headers={"authorization": f"Bearer {token}"})
        assert response.status_code == 200, response.text
        return response.content

    def stored_bytes(self) -> int:
        """Return the number of bytes of all uploads and objects on disk."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".json"]
        return sum(path.stat().st_size for path in files)

    def delete_rows(self) -> None:
        """Delete the rows of all objects in the bucket."""
        self.database.execute("set storage.allow_delete_query = 'true'")
        self.database.execute("delete from storage.objects where bucket_id = %s", [self.bucket])

    def policy(self, check: str) -> None:
        """Replace the policy for uploads to the bucket."""
        self.database.execute(f"drop policy if exists {self.bucket} on storage.objects")
        self.database.execute(
            f"create policy {self.bucket} on storage.objects for insert to authenticated "
            f"with check (bucket_id = '{self.bucket}' and {check})"
        )


@pytest.fixture
def bucket(bare_stack: StackHandle) -> Iterator[str]:
    """The name of a new bucket."""
    name = f"b{uuid4().hex}"
    with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as database:
        database.execute("insert into storage.buckets (id, name) values (%s, %s)", [name, name])
        yield name
        database.execute(f"drop policy if exists {name} on storage.objects")


@pytest.fixture
async def storage(bare_stack: StackHandle, bucket: str, tmp_path: Path) -> AsyncIterator[Storage]:
    """A server whose bucket accepts uploads of Alice."""
    files = FileStore(tmp_path)
    files.prepare()
    async with AsyncConnectionPool(bare_stack.admin_dsn, min_size=1, max_size=4, open=False) as pool:
        with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as database:
            unfinished = UnfinishedUploads(tmp_path / ".resumable", clock=lambda: running.now)
            unfinished.restore(set())
            app = create_storage(Database(pool), files, unfinished, Keys(), SIZE_LIMIT)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://storage") as http:
                running = Storage(http, tmp_path, unfinished, bucket, database, time.time())
                running.policy(f"owner_id = '{ALICE}'")
                yield running


async def _pieces(content: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def test_resumable_upload_in_pieces_stores_one_object(storage: Storage) -> None:
    content = bytes(range(256)) * 4096 * 3
    url = await storage.url(upload_length=str(len(content)))
    for start in range(0, len(content), MIB):
        patched = await storage.patch(url, start, _pieces(content[start : start + MIB]))
        assert patched.status_code == 204, patched.text
        assert ("upload-expires" in patched.headers) == (start + MIB < len(content))
    assert patched.headers["tus-complete"] == "1"
    row = storage.database.execute("select metadata from storage.objects where bucket_id = %s", [storage.bucket])
    [(metadata,)] = row.fetchall()
    assert metadata["eTag"] == f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    assert (metadata["size"], metadata["mimetype"]) == (len(content), "audio/webm")
    assert storage.stored_bytes() == len(content), "the object is stored twice"


async def test_object_keeps_its_bytes_if_the_finished_state_cannot_be_saved(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is that the upload is complete, a warning is logged, and later requests find no upload."""
    url = await storage.url(upload_length="20")
    assert (await storage.patch(url, 0, b"0123456789")).status_code == 204
    [state] = (storage.folder / ".resumable").glob("*.json")
    state.with_suffix(".tmp").mkdir()  # The next save fails.
    done = await storage.patch(url, 10, b"0123456789")
    assert (done.status_code, done.headers["tus-complete"]) == (204, "1")
    assert await storage.stored_object() == b"0123456789" * 2
    assert state.stem in caplog.text
    assert (await storage.head(url)).status_code == 404
    again = await storage.patch(url, 20, b"")
    assert (again.status_code, again.text) == (404, "The file for this url was not found\n")


async def test_newer_request_stops_an_older_patch_of_the_same_upload(storage: Storage) -> None:
    """The older connection may be dead: its bytes are kept, and the newer request continues after them."""
    url = await storage.url(upload_length="30")
    older, _ = await storage.patch_half(url)
    head = await storage.head(url)
    assert head.headers["upload-offset"] == "10"
    stopped = await older
    assert (stopped.status_code, stopped.text) == (400, "Request aborted due to lock acquired")
    assert (await storage.patch(url, 0, b"x")).status_code == 409
    assert (await storage.patch(url, 10, b"y" * 20)).headers["tus-complete"] == "1"


async def test_patches_at_the_same_time_never_mix_their_bytes(storage: Storage) -> None:
    url = await storage.url(upload_length=str(2 * MIB))
    bodies = [bytes([number]) * (2 * MIB) for number in range(6)]
    responses = await asyncio.gather(*(storage.patch(url, 0, _pieces(body)) for body in bodies))
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {204, 400, 409}
    offset = int((await storage.head(url)).headers["upload-offset"])
    if 204 in statuses:
        stored = await storage.stored_object()
        assert offset == 2 * MIB
    else:
        [path] = (storage.folder / ".resumable").glob("*.bytes")
        stored = path.read_bytes()
    assert len(stored) == offset
    assert len(set(stored)) <= 1, "the bytes of several requests are mixed"


async def test_policy_that_rejects_the_creator_removes_the_upload(storage: Storage) -> None:
    """As after the cancellation of a smelt: 403 at the next PATCH, and no bytes are left on disk."""
    url = await storage.url(upload_length="20")
    assert (await storage.patch(url, 0, b"0123456789")).status_code == 204
    as_bob = await storage.patch(url, 10, b"0123456789", BOB)
    assert as_bob.status_code == 403
    assert (await storage.http.delete(url, headers=storage.headers(BOB))).status_code == 403
    assert (await storage.head(url)).headers["upload-offset"] == "10", "another user has ended the upload"
    storage.policy("false")
    rejected = await storage.patch(url, 10, b"0123456789")
    assert (rejected.status_code, rejected.text) == (403, "new row violates row-level security policy")
    assert storage.stored_bytes() == 0
    assert (await storage.head(url)).status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_rejected_request_of_the_creator_stops_a_patch_before_the_upload_is_removed(
    storage: Storage, method: str
) -> None:
    """A request in progress writes no bytes to a removed file."""
    url = await storage.url(upload_length="20")
    older, _ = await storage.patch_half(url)
    storage.policy("false")
    kind = {"content_type": "application/offset+octet-stream", "upload_offset": "10"}
    rejected = await storage.http.request(method, url, headers=storage.headers(**kind))
    assert rejected.status_code == 403
    stopped = await asyncio.wait_for(older, TIMEOUT_S)
    assert (stopped.status_code, stopped.text) == (400, "Request aborted due to lock acquired")
    assert (await storage.head(url)).status_code == 404
    assert not list((storage.folder / ".resumable").iterdir())


async def test_rejected_request_keeps_the_state_of_a_finished_upload(storage: Storage) -> None:
    """A client whose last response was lost still learns that all bytes have arrived."""
    url = await storage.url(upload_length="10")
    assert (await storage.patch(url, 0, b"0123456789")).status_code == 204
    storage.policy("false")
    assert (await storage.patch(url, 10, b"")).status_code == 403
    assert (await storage.head(url)).headers["upload-offset"] == "10"


async def test_policy_rejects_between_the_last_byte_and_the_object(storage: Storage) -> None:
    """The caller is checked again before the object appears."""
    url = await storage.url(upload_length="20")

    async def slow() -> AsyncIterator[bytes]:
        yield b"0123456789"
        storage.policy("false")
        yield b"0123456789"

    assert (await storage.patch(url, 0, slow())).status_code == 403
    assert storage.stored_bytes() == 0


async def test_deferred_length_is_stopped_by_the_policy_while_it_streams(storage: Storage) -> None:
    """The policies see the bytes so far as `contentLength`; the rest is not read, and nothing stays on disk."""
    storage.policy(f"(metadata ->> 'contentLength')::bigint <= {2 * MIB}")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < SIZE_LIMIT:
            sent += 64 * 1024
            yield b"x" * 64 * 1024

    url = await storage.url(upload_defer_length="1", content_length="0")
    assert (await storage.head(url)).headers["upload-defer-length"] == "1"
    assert (await storage.patch(url, 0, endless())).status_code == 403
    assert sent <= 2 * MIB + GROWTH_CHECK_BYTES
    assert storage.stored_bytes() == 0


async def test_deferred_length_is_declared_by_a_later_patch(storage: Storage) -> None:
    url = await storage.url(upload_defer_length="1")
    assert (await storage.patch(url, 0, b"0123456789")).status_code == 204
    assert (await storage.patch(url, 10, b"", upload_length="5")).status_code == 400
    over = await storage.patch(url, 10, b"", upload_length=str(SIZE_LIMIT + 1))
    assert (over.status_code, over.text) == (413, "Maximum size exceeded\n")
    done = await storage.patch(url, 10, b"0123456789", upload_length="20")
    assert (done.status_code, done.headers["tus-complete"]) == (204, "1")
    assert (await storage.patch(url, 20, b"", upload_length="20", x_upsert="true")).status_code == 403


async def test_body_beyond_the_length_or_the_limit_of_the_bucket_is_rejected(storage: Storage) -> None:
    """With and without a declared length; the bytes of the request leave the disk."""
    storage.database.execute("update storage.buckets set file_size_limit = 100000 where id = %s", [storage.bucket])
    for more, content in (
        ({"upload_length": "1000"}, b"x" * 1001),
        ({"upload_length": "1000"}, _pieces(b"x" * 2000, 600)),
        ({"upload_defer_length": "1"}, b"x" * 100_001),
        ({"upload_defer_length": "1"}, _pieces(b"x" * 100_001)),
    ):
        url = await storage.url(**more)
        rejected = await storage.patch(url, 0, content)
        assert (rejected.status_code, rejected.text) == (413, "upload's size exceeded\n")
        assert (await storage.head(url)).headers["upload-offset"] == "0"
        assert storage.stored_bytes() == 0
    too_long = await storage.create(upload_length="100001")
    assert (too_long.status_code, too_long.text) == (413, "Maximum size exceeded\n")
    extra = {"content_type": "application/offset+octet-stream"}
    assert (await storage.create(upload_length="0", **extra)).status_code == 201


@pytest.mark.parametrize(("sqlstate", "status"), [("42501", 403), ("PT413", 500)])
async def test_trigger_that_rejects_the_object_removes_its_bytes(storage: Storage, sqlstate: str, status: int) -> None:
    """Of resumable and plain uploads alike; the client has to start again."""
    name = f"no_{storage.bucket}"
    storage.database.execute(
        f"""
        create function public.{name}() returns trigger language plpgsql as
            $$ begin raise exception 'not today' using errcode = '{sqlstate}'; end $$;
        create trigger {name} before insert on storage.objects for each row
            when (new.bucket_id = '{storage.bucket}' and (new.metadata ->> 'size') is not null)
            execute function public.{name}();
        """
    )
    try:
        url = await storage.url(upload_length="10")
        assert (await storage.patch(url, 0, b"0123456789")).status_code == status
        assert (await storage.head(url)).status_code == 404
        plain = await storage.http.post(
            f"/object/{storage.bucket}/plain", content=b"0123456789", headers=storage.headers()
        )
        assert plain.json()["statusCode"] == str(status)
    finally:
        storage.database.execute(f"drop trigger {name} on storage.objects; drop function public.{name}()")
    assert storage.stored_bytes() == 0


async def test_failed_creation_with_upload_leaves_nothing(storage: Storage) -> None:
    """The client does not learn the URL."""
    extra = {"content-type": "application/offset+octet-stream", "upload-length": "5"}
    metadata = base64.b64encode(storage.bucket.encode()).decode()
    rejected = await storage.http.post(
        "/upload/resumable",
        content=_pieces(b"0123456789"),
        headers=storage.headers() | extra | {"upload-metadata": f"bucketName {metadata},objectName YQ=="},
    )
    assert rejected.status_code == 413
    assert not list((storage.folder / ".resumable").iterdir())


async def test_unfinished_uploads_of_one_object_are_bounded(storage: Storage) -> None:
    """The error names the ways out: to continue or terminate one of them, or to wait until one expires."""

    async def create_up_to_the_bound() -> list[str]:
        urls = [await storage.url(upload_length="1") for _ in range(MAX_PER_OBJECT)]
        await reject_one()
        return urls

    async def reject_one() -> None:
        rejected = await storage.create(upload_length="1")
        assert rejected.status_code == 400
        assert rejected.headers["content-type"] == "text/plain;charset=UTF-8"
        assert rejected.text == (
            f"You have reached the maximum of {MAX_PER_OBJECT} unfinished uploads of this object: "
            "continue or terminate one of them, or wait until one expires, 24 hours after its creation\n"
        )

    urls = await create_up_to_the_bound()
    assert len(list((storage.folder / ".resumable").iterdir())) == 2 * MAX_PER_OBJECT
    assert (await storage.create("b.webm", upload_length="1")).status_code == 201
    assert (await storage.http.delete(urls[0], headers=storage.headers())).status_code == 204
    await storage.url(upload_length="1")
    await reject_one()
    assert (await storage.patch(urls[1], 0, b"x")).headers["tus-complete"] == "1"
    storage.delete_rows()
    await storage.url(upload_length="1")
    await reject_one()
    storage.now += EXPIRY_S
    await create_up_to_the_bound()


async def test_upload_expires_24_hours_after_its_creation(storage: Storage) -> None:
    """It answers 410 until its bytes leave the disk, then 404."""
    urls = [await storage.url(upload_length="20"), await storage.url(upload_length="20")]
    for url in urls:
        assert (await storage.patch(url, 0, b"0123456789")).status_code == 204
    done = await storage.url(upload_length="1")
    assert (await storage.patch(done, 0, b"x")).headers["tus-complete"] == "1"
    storage.now += EXPIRY_S - 1
    assert await storage.unfinished.sweep() == 0
    assert (await storage.head(urls[0])).status_code == 200
    storage.now += 1
    expired = await storage.patch(urls[0], 10, b"0123456789")
    assert (expired.status_code, expired.text) == (410, "The file for this url no longer exists\n")
    assert (await storage.head(urls[0])).status_code == 410
    assert await storage.unfinished.sweep() == 3
    assert (await storage.head(urls[0])).status_code == 404
    assert storage.stored_bytes() == 1
    assert not list((storage.folder / ".resumable").iterdir())


async def test_upload_that_expires_during_a_patch_is_finished_by_it(storage: Storage) -> None:
    """The sweep removes no upload with a request in progress."""
    url = await storage.url(upload_length="20")
    patching, go_on = await storage.patch_half(url)
    storage.now += EXPIRY_S
    assert await storage.unfinished.sweep() == 0
    go_on.set()
    done = await asyncio.wait_for(patching, TIMEOUT_S)
    assert (done.status_code, done.headers["tus-complete"]) == (204, "1")
    assert await storage.stored_object() == b"0123456789" * 2
    assert await storage.unfinished.sweep() == 1


async def test_url_of_another_object_or_without_a_valid_id_is_rejected(storage: Storage) -> None:
    url = await storage.url(upload_length="20")
    base, _, text = url.rpartition("/")
    bucket_id, key, version = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split("/")

    def forged(*parts: str) -> str:
        return f"{base}/{base64.urlsafe_b64encode('/'.join(parts).encode()).decode().rstrip('=')}"

    for path, status in (
        (forged(bucket_id, "other", version), 404),
        (forged(bucket_id, key, "../../../etc"), 400),
        (forged(bucket_id, key, f"{version}.json"), 400),
        (forged(bucket_id, version), 400),
        (f"{base}/{'%ff' * 3}", 400),
        (f"{base}/_w", 400),
    ):
        assert (await storage.http.head(path, headers=storage.headers())).status_code == status, path
    assert (await storage.http.delete(url, headers=storage.headers())).status_code == 204
    assert storage.stored_bytes() == 0


async def test_finished_upload_cannot_be_terminated(storage: Storage) -> None:
    url = await storage.url(upload_length="1")
    assert (await storage.patch(url, 0, b"x")).status_code == 204
    storage.delete_rows()
    rejected = await storage.http.delete(url, headers=storage.headers())
    assert (rejected.status_code, rejected.text) == (400, "Cannot terminate an already completed upload")


async def test_method_override_and_unsupported_extensions(storage: Storage) -> None:
    url = await storage.url(upload_length="1")
    kind = {"content_type": "application/offset+octet-stream", "upload_offset": "0"}
    posted = await storage.http.post(url, content=b"x", headers=storage.headers(x_http_method_override="PATCH", **kind))
    assert posted.headers["tus-complete"] == "1"
    assert (await storage.create("b", upload_length="1", upload_concat="partial")).status_code == 400
    both = await storage.create("b", upload_length="1", upload_defer_length="1")
    assert both.status_code == 400
