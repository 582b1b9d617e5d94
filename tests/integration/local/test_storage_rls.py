"""The caller's token in policies and rows."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest

from smelt.local import StackHandle


@pytest.fixture
def database(bare_stack: StackHandle) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(bare_stack.admin_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def bucket(database: psycopg.Connection[Any]) -> Iterator[str]:
    """A bucket in which signed-in users may do everything."""
    name = f"c{uuid4().hex}"
    database.execute("insert into storage.buckets (id, name) values (%s, %s)", [name, name])
    database.execute(
        f"create policy {name} on storage.objects to authenticated "
        f"using (bucket_id = '{name}') with check (bucket_id = '{name}')"
    )
    yield name
    database.execute(f"drop policy {name} on storage.objects")


def signed(stack: StackHandle, **claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt.encode(claims, stack.jwt_secret, algorithm='HS256')}"}


@pytest.mark.parametrize("subject", [str(uuid4()), "a service of ours", None], ids=["uuid", "text", "none"])
async def test_object_owner_is_the_subject_of_the_token(
    subject: str | None,
    bucket: str,
    database: psycopg.Connection[Any],
    http: httpx.AsyncClient,
    bare_stack: StackHandle,
) -> None:
    """`owner_id` is any subject, `owner` only a UUID; also with a signed URL."""
    claims = {"role": "authenticated"} | ({} if subject is None else {"sub": subject})
    caller = signed(bare_stack, **claims)
    stored = await http.post(f"/storage/v1/object/{bucket}/direct", content=b"x", headers=caller)
    assert stored.status_code == 200
    url = (await http.post(f"/storage/v1/object/upload/sign/{bucket}/signed", headers=caller)).json()["url"]
    assert (await http.put(f"/storage/v1{url}", content=b"x")).status_code == 200
    rows = database.execute("select owner_id, owner::text from storage.objects where bucket_id = %s", [bucket])
    is_uuid = subject is not None and subject.count("-") == 4
    assert rows.fetchall() == [(subject, subject if is_uuid else None)] * 2


async def test_rls_policies_can_read_the_token_claims(
    bucket: str, database: psycopg.Connection[Any], http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """Each claim as a setting, and all claims as JSON."""
    database.execute(
        f"""
        create policy {bucket}_team on storage.objects as restrictive for select to authenticated using (
            bucket_id <> '{bucket}'
            or current_setting('request.jwt.claim.role') = 'authenticated'
            and current_setting('request.jwt.claim.sub') = auth.uid()::text
            and current_setting('request.jwt.claims')::jsonb -> 'app_metadata' ->> 'team' = 'a'
        )
        """
    )
    try:
        who = {"role": "authenticated", "sub": str(uuid4())}
        await http.post(f"/storage/v1/object/{bucket}/a", content=b"x", headers=signed(bare_stack, **who))
        for team, status in (("a", 200), ("b", 400)):
            caller = signed(bare_stack, **who, app_metadata={"team": team})
            response = await http.get(f"/storage/v1/object/authenticated/{bucket}/a", headers=caller)
            assert response.status_code == status
    finally:
        database.execute(f"drop policy {bucket}_team on storage.objects")


@pytest.mark.parametrize(("header", "replaced"), [("true", True), ("True", False), ("1", False), ("", False)])
async def test_upsert_requires_the_header_value_true(
    header: str, replaced: bool, bucket: str, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    url, caller = f"/storage/v1/object/{bucket}/a", signed(bare_stack, role="authenticated")
    assert (await http.post(url, content=b"old", headers=caller)).status_code == 200
    response = await http.post(url, content=b"new", headers=caller | {"x-upsert": header})
    assert response.status_code == (200 if replaced else 400)
    assert replaced or json.loads(response.content)["code"] == "KeyAlreadyExists"
    assert (await http.get(url, headers=caller)).content == (b"new" if replaced else b"old")


async def test_upsert_requires_select_and_update_policies(
    bucket: str, database: psycopg.Connection[Any], http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """A new object requires the policy for insert; a replacement also those for select and update."""
    url, caller = f"/storage/v1/object/{bucket}/a", signed(bare_stack, role="authenticated", sub=str(uuid4()))
    upsert = caller | {"x-upsert": "true"}
    database.execute(f"drop policy {bucket} on storage.objects")
    rule = f"bucket_id = '{bucket}'"
    steps = (
        (f"create policy {bucket} on storage.objects for insert to authenticated with check ({rule})", 200, 400),
        (f"create policy {bucket}_s on storage.objects for select to authenticated using ({rule})", None, 400),
        (f"create policy {bucket}_u on storage.objects for update to authenticated using ({rule})", None, 200),
    )
    for statement, plain, replacing in steps:
        database.execute(statement)
        if plain is not None:
            assert (await http.post(url, content=b"x", headers=caller)).status_code == plain
        assert (await http.post(url, content=b"y", headers=upsert)).status_code == replacing
    database.execute(f"drop policy {bucket}_s on storage.objects; drop policy {bucket}_u on storage.objects")
