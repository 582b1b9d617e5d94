"""The official Python client with an embedded stack, from sign-up to Realtime."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from supabase import AsyncClient, AsyncClientOptions, create_async_client

from smelt.local import LocalCluster, LocalStack
from tests.harness.stacks import POSTGREST
from tests.integration.local.stack_projects import NOTES, write_project

TIMEOUT_S = 30


async def test_supabase_py_covers_sign_up_rows_storage_and_realtime(
    tmp_path: Path, local_cluster: LocalCluster
) -> None:
    """Sign-up, rows, objects, a private channel and changes work with one URL and one key."""
    async with (
        local_cluster.fresh(write_project(tmp_path / "supabase", NOTES)) as stack,
        httpx.AsyncClient(timeout=60) as http,
    ):
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False)
        client = await create_async_client(stack.api_url, stack.anon_key, options)
        signed_up = await client.auth.sign_up({"email": f"{uuid4()}@example.com", "password": str(uuid4())})
        assert signed_up.user is not None
        user_id = signed_up.user.id

        await client.table("notes").insert({"body": "first"}).execute()
        assert [row["body"] for row in (await client.table("notes").select("*").execute()).data] == ["first"]

        await client.storage.from_("box").upload(f"{user_id}/a.txt", b"hello", {"content-type": "text/plain"})
        assert await client.storage.from_("box").download(f"{user_id}/a.txt") == b"hello"

        await _check_subscription(client, user_id)


async def _check_subscription(client: AsyncClient, user_id: str) -> None:
    joined, following = asyncio.Event(), asyncio.Event()
    broadcasts: asyncio.Queue[dict] = asyncio.Queue()
    changes: asyncio.Queue[dict] = asyncio.Queue()
    channel = client.channel("room", {"config": {"private": True, "broadcast": {"self": True, "ack": True}}})
    channel.on_broadcast("shout", broadcasts.put_nowait)
    channel.on_postgres_changes("INSERT", schema="public", table="notes", callback=changes.put_nowait)
    channel.on_system(lambda _: following.set())
    await channel.subscribe(lambda state, _: joined.set() if state == "SUBSCRIBED" else None)
    async with asyncio.timeout(TIMEOUT_S):
        await joined.wait()
        await following.wait()
        await channel.send_broadcast("shout", {"text": "hi"})
        assert (await broadcasts.get())["payload"] == {"text": "hi"}
        await client.table("notes").insert({"body": "second"}).execute()
        record = (await changes.get())["data"]["record"]
    assert (record["body"], record["user_id"]) == ("second", user_id)
    await client.remove_all_channels()


async def test_api_keys_of_both_kinds_have_the_same_access(tmp_path: Path, local_cluster: LocalCluster) -> None:
    """`sb_...` keys have the same access as JWT keys; the keys of apps see no rows of others."""
    seed = "insert into public.notes (body) values ('of nobody');"
    async with (
        local_cluster.fresh(write_project(tmp_path / "supabase", NOTES, seed=seed)) as stack,
        httpx.AsyncClient(base_url=stack.api_url, timeout=60) as http,
    ):
        seen = {
            key: (await http.get("/rest/v1/notes?select=body", headers={"apikey": key})).json()
            for key in (stack.anon_key, stack.publishable_key, stack.service_role_key, stack.secret_key)
        }
    assert list(seen.values()) == [[], [], [{"body": "of nobody"}], [{"body": "of nobody"}]]


async def test_supabase_py_client_continues_after_a_stack_restart(tmp_path: Path) -> None:
    """The session, connections and signed URLs stay valid on the same port."""
    project = write_project(tmp_path / "supabase", NOTES)

    def started(port: int = 0) -> LocalStack:
        return LocalStack(tmp_path / "stack", migrations=project, api_port=port, postgrest=POSTGREST)

    async with httpx.AsyncClient(timeout=30) as http:
        async with started() as stack:
            options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False)
            client = await create_async_client(stack.api_url, stack.anon_key, options)
            signed_up = await client.auth.sign_up({"email": f"{uuid4()}@example.com", "password": str(uuid4())})
            assert signed_up.user is not None
            box, path = client.storage.from_("box"), f"{signed_up.user.id}/a.txt"
            await box.upload(path, b"before")
            signed_url = (await box.create_signed_url(path, 600))["signedURL"]
        with pytest.raises(httpx.ConnectError):
            await box.download(path)
        async with started(urlsplit(stack.api_url).port or 0):
            current = await client.auth.get_user()
            assert current is not None
            assert current.user.id == signed_up.user.id
            assert (await http.get(signed_url)).content == b"before"
            await client.auth.refresh_session()
            await client.table("notes").insert({"body": "after"}).execute()
            await box.upload(path, b"after", {"upsert": "true"})
            assert await box.download(path) == b"after"
