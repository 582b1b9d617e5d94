"""Storage with the official Python client, and with plain HTTP where the client hides details."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from storage3.exceptions import StorageApiError
from supabase import AsyncClient

from smelt.local import StackHandle

MIB = 1024 * 1024
BODY = bytes(range(256)) * 20


@pytest.fixture
def bucket(bare_stack: StackHandle) -> Iterator[str]:
    """A private bucket with a folder for each user."""
    name = f"b{uuid4().hex}"
    with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as database:
        database.execute("insert into storage.buckets (id, name) values (%s, %s)", [name, name])
        for command in ("select", "insert", "update", "delete"):
            kind = "with check" if command == "insert" else "using"
            database.execute(
                f"create policy {name}_{command} on storage.objects for {command} to authenticated {kind} "
                f"(bucket_id = '{name}' and (storage.foldername(name))[1] = (select auth.uid())::text)"
            )
        yield name
        for command in ("select", "insert", "update", "delete"):
            database.execute(f"drop policy {name}_{command} on storage.objects")


@pytest.fixture
async def alice(connect: Any) -> AsyncClient:
    """A signed-in user."""
    client: AsyncClient = await connect()
    await client.auth.sign_in_anonymously()
    return client


async def _folder(client: AsyncClient) -> str:
    response = await client.auth.get_user()
    assert response is not None
    return response.user.id


def _service(stack: StackHandle) -> dict[str, str]:
    return {"apikey": stack.secret_key}


async def test_storage_uploads_lists_downloads_and_removes_an_object(alice: AsyncClient, bucket: str) -> None:
    """Upload, info, exists, list, download, signed URL and remove."""
    storage, folder = alice.storage.from_(bucket), await _folder(alice)
    path = f"{folder}/stand-up, 20.11..webm"
    await storage.upload(path, BODY, {"content-type": "audio/webm", "cache-control": "60", "metadata": {"n": 1}})
    info = await storage.info(path)
    assert (info["size"], info["content_type"], info["cache_control"]) == (len(BODY), "audio/webm", "max-age=60")
    assert info["metadata"] == {"n": 1}
    assert info["etag"] == f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'
    assert await storage.exists(path)
    assert [entry["name"] for entry in await storage.list(folder)] == [path.rpartition("/")[2]]
    assert await storage.download(path) == BODY
    removed = await storage.remove([path, f"{folder}/nothing"])
    assert [row["name"] for row in removed] == [path]
    assert not await storage.exists(path)


async def test_signed_url_downloads_without_a_key_whole_and_in_ranges(
    alice: AsyncClient, bucket: str, http: httpx.AsyncClient
) -> None:
    """Complete, in part, and with another file name."""
    storage, path = alice.storage.from_(bucket), f"{await _folder(alice)}/a.webm"
    await storage.upload(path, BODY)
    url = (await storage.create_signed_url(path, 60, {"download": "meeting.webm"}))["signedURL"]
    whole = await http.get(url)
    assert whole.content == BODY
    assert "filename=meeting.webm" in whole.headers["content-disposition"]
    part = await http.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, BODY[10:20])
    missing = await storage.create_signed_urls([path, "nothing"], 60)
    assert [bool(entry["error"]) for entry in missing] == [False, True]


async def test_signed_upload_works_once_without_a_user(
    alice: AsyncClient, connect: Any, bucket: str, bare_stack: StackHandle
) -> None:
    """The object belongs to the signer; a second use is rejected."""
    folder = await _folder(alice)
    signed = await alice.storage.from_(bucket).create_signed_upload_url(f"{folder}/s.webm")
    nobody = (await connect()).storage.from_(bucket)
    await nobody.upload_to_signed_url(signed["path"], signed["token"], BODY, {"content-type": "audio/webm"})
    with pytest.raises(StorageApiError, match="already exists"):
        await nobody.upload_to_signed_url(signed["path"], signed["token"], BODY)
    with psycopg.connect(bare_stack.admin_dsn) as database:
        owner = database.execute("select owner_id from storage.objects where bucket_id = %s", [bucket]).fetchone()
    assert owner == (folder,)


async def test_rls_denies_access_to_the_folder_of_another_user(alice: AsyncClient, connect: Any, bucket: str) -> None:
    """Policies control reading, writing, signing, listing and removing."""
    bob = await connect()
    await bob.auth.sign_in_anonymously()
    hers = f"{await _folder(alice)}/a.webm"
    await alice.storage.from_(bucket).upload(hers, BODY)
    his = bob.storage.from_(bucket)
    for attempt in (
        his.upload(hers, b"x", {"upsert": "true"}),
        his.upload(f"{await _folder(alice)}/b.webm", b"x"),
        his.create_signed_upload_url(f"{await _folder(alice)}/c.webm"),
        his.download(hers),
        his.create_signed_url(hers, 60),
    ):
        with pytest.raises(StorageApiError):
            await attempt
    assert await his.list(await _folder(alice)) == []
    assert await his.remove([hers]) == []
    assert await alice.storage.from_(bucket).download(hers) == BODY


async def test_upload_and_download_stream_large_bodies(
    http: httpx.AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """Bodies are streamed, in chunks and with a declared length."""
    block, count = hashlib.sha512(b"x").digest() * 4096, 40

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield block

    for key, headers in (("chunked", {}), ("declared", {"content-length": str(len(block) * count)})):
        stored = await http.post(
            f"/storage/v1/object/{bucket}/{key}", content=blocks(), headers=_service(bare_stack) | headers
        )
        assert stored.status_code == 200
        digest, size = hashlib.md5(usedforsecurity=False), 0
        async with http.stream("GET", f"/storage/v1/object/{bucket}/{key}", headers=_service(bare_stack)) as response:
            async for chunk in response.aiter_bytes():
                digest.update(chunk)
                size += len(chunk)
        assert size == len(block) * count
        assert response.headers["etag"] == f'"{digest.hexdigest()}"'


async def test_upload_that_breaks_off_stores_no_object(
    http: httpx.AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """Neither a row nor a file is left, and an existing object stays."""
    url = f"/storage/v1/object/{bucket}/a.webm"
    await http.post(url, content=b"old", headers=_service(bare_stack))

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        raise ConnectionError

    for key in ("a.webm", "b.webm"):
        with pytest.raises(ConnectionError):
            await http.put(f"/storage/v1/object/{bucket}/{key}", content=broken(), headers=_service(bare_stack))
    listed = await http.post(f"/storage/v1/object/list/{bucket}", json={"prefix": ""}, headers=_service(bare_stack))
    assert [entry["name"] for entry in listed.json()] == ["a.webm"]
    assert (await http.get(url, headers=_service(bare_stack))).content == b"old"


async def test_upload_by_form_over_the_size_limit_is_rejected(
    http: httpx.AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """Only the bytes of the file count, at any position in the form."""
    with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as database:
        database.execute("update storage.buckets set file_size_limit = 1000 where id = %s", [bucket])
    for size, status in ((1000, 200), (1001, 400), (5 * MIB, 400)):
        response = await http.post(
            f"/storage/v1/object/{bucket}/{size}",
            files={"file": ("f.webm", b"x" * size, "audio/webm")},
            data={"cacheControl": "60"},
            headers=_service(bare_stack),
        )
        assert response.status_code == status
        assert response.json().get("code") == (None if status == 200 else "EntityTooLarge")


async def test_upload_by_concurrent_callers_of_one_key_keeps_one_object(
    http: httpx.AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """The row matches the contents, whichever upload was last."""
    bodies = [bytes([number]) * 1000 for number in range(8)]
    url = f"/storage/v1/object/{bucket}/same.webm"
    responses = await asyncio.gather(*(http.put(url, content=body, headers=_service(bare_stack)) for body in bodies))
    assert [response.status_code for response in responses] == [200] * len(bodies)
    assert len({response.json()["Id"] for response in responses}) == 1
    stored = await http.get(url, headers=_service(bare_stack))
    assert stored.content in bodies
    assert stored.headers["etag"] == f'"{hashlib.md5(stored.content, usedforsecurity=False).hexdigest()}"'


async def test_download_during_replacement_returns_one_whole_version(
    http: httpx.AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """Every response is one complete version."""
    url = f"/storage/v1/object/{bucket}/busy.webm"
    bodies = [bytes([number]) * 200_000 for number in range(12)]
    await http.put(url, content=bodies[0], headers=_service(bare_stack))

    async def replace() -> None:
        for body in bodies:
            await http.put(url, content=body, headers=_service(bare_stack))

    replacing = asyncio.create_task(replace())
    while not replacing.done():
        response = await http.get(url, headers=_service(bare_stack))
        assert response.status_code == 200
        assert response.content in bodies
    await replacing


async def test_storage_triggers_see_role_claims_operation_and_headers(
    alice: AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """Role, claims, operation, method, path and headers are set, and `public` is in the search path."""
    seen = f"seen_{bucket}"
    with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as database:
        database.execute(f"create sequence public.{seen}; create table public.{seen}_log (what jsonb)")
        database.execute(f"grant all on public.{seen}_log to authenticated, service_role")
        database.execute(
            f"""
            create function public.{seen}_note() returns trigger language plpgsql as $$
            begin
                insert into {seen}_log values (jsonb_build_object(
                    'role', current_user, 'uid', auth.uid(), 'operation', storage.operation(),
                    'method', current_setting('request.method'), 'path', current_setting('request.path'),
                    'headers', current_setting('request.headers')::jsonb, 'owner', new.owner_id,
                    'size', new.metadata -> 'size'));
                return new;
            end $$;
            create trigger {seen} before insert on storage.objects
                for each row when (new.bucket_id = '{bucket}') execute function public.{seen}_note();
            """
        )
        try:
            folder = await _folder(alice)
            await alice.storage.from_(bucket).upload(f"{folder}/a.webm", BODY)
            rows = database.execute(f"select what from public.{seen}_log").fetchall()
        finally:
            database.execute(f"drop trigger {seen} on storage.objects; drop function public.{seen}_note()")
            database.execute(f"drop table public.{seen}_log; drop sequence public.{seen}")
    # The trial insert as the caller was rolled back, so the row is from the server's own transaction.
    [(what,)] = rows
    assert (what["role"], what["uid"], what["owner"]) == ("service_role", None, folder)
    assert (what["operation"], what["method"]) == ("storage.object.upload", "POST")
    assert what["path"] == f"/object/{bucket}/{folder}/a.webm"
    assert what["size"] == len(BODY)
    assert what["headers"]["apikey"] == bare_stack.anon_key
    assert what["headers"]["authorization"].startswith("Bearer ")


async def test_upload_rejected_by_a_trigger_stores_no_object(
    http: httpx.AsyncClient, bucket: str, bare_stack: StackHandle
) -> None:
    """The error of a trigger is a server error, and no object is stored."""
    with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as database:
        database.execute(
            f"""
            create function public.no_{bucket}() returns trigger language plpgsql as
                $$ begin raise exception 'not today' using errcode = 'PT413'; end $$;
            create trigger no_{bucket} before insert on storage.objects
                for each row when (new.bucket_id = '{bucket}') execute function public.no_{bucket}();
            """
        )
        try:
            response = await http.post(f"/storage/v1/object/{bucket}/a", content=BODY, headers=_service(bare_stack))
        finally:
            database.execute(f"drop trigger no_{bucket} on storage.objects; drop function public.no_{bucket}()")
    assert response.status_code == 500
    assert response.json()["message"] == "database error, code: PT413"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"{}" + b" " * 2 * MIB])
@pytest.mark.parametrize("route", ["list", "sign"])
async def test_storage_rejects_a_malformed_body_in_the_platform_shape(
    route: str, body: bytes, bucket: str, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """The error has the platform's format."""
    headers = _service(bare_stack) | {"content-type": "application/json"}
    response = await http.post(f"/storage/v1/object/{route}/{bucket}", content=body, headers=headers)
    assert response.status_code in (400, 413)
    assert set(response.json()) == {"statusCode", "error", "message", "code"}


async def test_bucket_can_be_created_changed_emptied_and_removed(connect: Any, bare_stack: StackHandle) -> None:
    """All these require the service key."""
    service, name = await connect(bare_stack.secret_key), f"b{uuid4().hex}"
    with pytest.raises(StorageApiError, match="row-level security"):
        await (await connect()).storage.create_bucket(name)
    await service.storage.create_bucket(
        name, options={"public": False, "file_size_limit": "5MB", "allowed_mime_types": ["audio/*"]}
    )
    found = await service.storage.get_bucket(name)
    assert (found.public, found.file_size_limit, found.allowed_mime_types) == (False, 5_000_000, ["audio/*"])
    await service.storage.from_(name).upload("a.webm", BODY, {"content-type": "audio/webm"})
    with pytest.raises(StorageApiError, match="mime type text/plain"):
        await service.storage.from_(name).upload("a.txt", BODY, {"content-type": "text/plain"})
    with pytest.raises(StorageApiError, match="not empty"):
        await service.storage.delete_bucket(name)
    await service.storage.update_bucket(name, {"public": True})
    public = await service.storage.from_(name).get_public_url("a.webm")
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(public)).content == BODY
    await service.storage.empty_bucket(name)
    await service.storage.delete_bucket(name)
    assert name not in {bucket.id for bucket in await service.storage.list_buckets()}


async def test_move_and_copy_keep_the_bytes(alice: AsyncClient, bucket: str) -> None:
    """The source of a move is gone, that of a copy stays."""
    storage, folder = alice.storage.from_(bucket), await _folder(alice)
    await storage.upload(f"{folder}/a", BODY)
    await storage.move(f"{folder}/a", f"{folder}/b")
    await storage.copy(f"{folder}/b", f"{folder}/c")
    assert not await storage.exists(f"{folder}/a")
    await storage.remove([f"{folder}/b"])
    assert await storage.download(f"{folder}/c") == BODY
    with pytest.raises(StorageApiError):
        await storage.move(f"{folder}/c", "elsewhere/c")
    assert await storage.download(f"{folder}/c") == BODY


@pytest.mark.parametrize("path", ["a%zz", "%ff%fe", "a%", "%00", "a%0Ab", "%2e%2e/%2e%2e/etc/passwd"])
async def test_storage_rejects_an_invalid_key(
    path: str, bucket: str, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """The key is rejected as invalid, or the URL is."""
    url = httpx.URL(bare_stack.api_url).copy_with(raw_path=f"/storage/v1/object/{bucket}/{path}".encode())
    response = await http.post(url, content=b"x", headers=_service(bare_stack))
    assert response.status_code == 400
    assert json.loads(response.content)["error"] in ("InvalidKey", "Bad Request", "Bucket not found")


def _form(content_type: str) -> dict[str, Any]:
    return {"files": {"": ("blob", b"recorded", content_type)}}


async def test_upload_by_form_stores_the_media_type_without_parameters(
    http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """A bucket that allows `audio/webm` accepts it with codecs, in a form; `*/*` allows nothing."""
    service, name = _service(bare_stack), f"b{uuid4().hex}"
    for bucket, allowed in ((name, "audio/webm"), (f"{name}2", "*/*")):
        body = {"name": bucket, "allowed_mime_types": [allowed]}
        assert (await http.post("/storage/v1/bucket", json=body, headers=service)).status_code == 200
    form = _form("audio/webm;codecs=opus")
    assert (await http.post(f"/storage/v1/object/{name}/a", headers=service, **form)).status_code == 200
    info = (await http.get(f"/storage/v1/object/info/{name}/a", headers=service)).json()
    assert info["content_type"] == "audio/webm"
    for path, sent in ((f"{name}2/a", form), (f"{name}/b", _form("audio/ogg"))):
        rejected = await http.post(f"/storage/v1/object/{path}", headers=service, **sent)
        assert rejected.json()["statusCode"] == "415"


async def test_upload_with_a_content_type_without_a_subtype_is_rejected(
    http: httpx.AsyncClient, bare_stack: StackHandle, bucket: str
) -> None:
    headers = _service(bare_stack)
    for content_type, message in (("audio", "Invalid Content-Type header"), ("audio/x; y=1", None)):
        response = await http.post(
            f"/storage/v1/object/{bucket}/typed", content=b"x", headers=headers | {"content-type": content_type}
        )
        assert response.json().get("message") == message


async def test_remove_of_an_object_without_an_owner_returns_empty_fields(
    http: httpx.AsyncClient, bare_stack: StackHandle, bucket: str
) -> None:
    headers = _service(bare_stack)
    await http.post(f"/storage/v1/object/{bucket}/ownerless", content=b"x", headers=headers)
    body = {"prefixes": ["ownerless"]}
    (row,) = (await http.request("DELETE", f"/storage/v1/object/{bucket}", json=body, headers=headers)).json()
    assert (row["owner"], row["owner_id"]) == ("", "")
