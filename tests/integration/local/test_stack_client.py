"""The official Python client against an embedded stack, from sign-up to Realtime."""

import asyncio
from pathlib import Path
from uuid import uuid4

import httpx
from stack_projects import NOTES, write_project
from supabase import AsyncClient, AsyncClientOptions, create_async_client

from smelt.local import LocalCluster

PATIENCE_S = 10


async def test_the_official_client_signs_up_stores_and_listens(tmp_path: Path, local_cluster: LocalCluster) -> None:
    """Sign-up, rows, objects, a private channel and row changes all go through one URL and one key."""
    async with (
        local_cluster.fresh(write_project(tmp_path / "supabase", NOTES)) as stack,
        httpx.AsyncClient() as http,
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

        await _listen(client, user_id)


async def _listen(client: AsyncClient, user_id: str) -> None:
    joined, following = asyncio.Event(), asyncio.Event()
    broadcasts: asyncio.Queue[dict] = asyncio.Queue()
    changes: asyncio.Queue[dict] = asyncio.Queue()
    channel = client.channel("room", {"config": {"private": True, "broadcast": {"self": True, "ack": True}}})
    channel.on_broadcast("said", broadcasts.put_nowait)
    channel.on_postgres_changes("INSERT", schema="public", table="notes", callback=changes.put_nowait)
    channel.on_system(lambda _: following.set())
    await channel.subscribe(lambda state, _: joined.set() if state == "SUBSCRIBED" else None)
    async with asyncio.timeout(PATIENCE_S):
        await joined.wait()
        await following.wait()
        await channel.send_broadcast("said", {"text": "hi"})
        assert (await broadcasts.get())["payload"] == {"text": "hi"}
        await client.table("notes").insert({"body": "second"}).execute()
        record = (await changes.get())["data"]["record"]
    assert (record["body"], record["user_id"]) == ("second", user_id)
    await client.remove_all_channels()


async def test_the_keys_of_both_kinds_stand_for_the_same_roles(tmp_path: Path, local_cluster: LocalCluster) -> None:
    """`sb_...` keys do what the JWT keys do, and those of an app see nothing that is not theirs."""
    seed = "insert into public.notes (body) values ('of nobody');"
    async with (
        local_cluster.fresh(write_project(tmp_path / "supabase", NOTES, seed=seed)) as stack,
        httpx.AsyncClient(base_url=stack.api_url) as http,
    ):
        seen = {
            key: (await http.get("/rest/v1/notes?select=body", headers={"apikey": key})).json()
            for key in (stack.anon_key, stack.publishable_key, stack.service_role_key, stack.secret_key)
        }
    assert list(seen.values()) == [[], [], [{"body": "of nobody"}], [{"body": "of nobody"}]]
