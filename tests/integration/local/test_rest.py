"""PostgREST behind the gateway, which forwards requests unchanged."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from supabase import PostgrestAPIError
from tenacity import AsyncRetrying, stop_after_delay, wait_fixed

from smelt.local import StackHandle

SCHEMA = """
create table if not exists public.things (id int primary key, owner uuid default auth.uid(), body text);
alter table public.things enable row level security;
drop policy if exists own on public.things;
create policy own on public.things to authenticated using (owner = (select auth.uid()));
create or replace function public.echo(value text) returns text language sql immutable as $$ select value $$;
create or replace function public.who() returns jsonb language sql stable as
    $$ select jsonb_build_object('role', current_user, 'sub', auth.uid(), 'claimed', auth.role()) $$;
create or replace function public.bake() returns text language sql volatile as $$
    select set_config('response.headers', '[{"set-cookie": "session=hers"}]', true)
$$;
create or replace function public.cookie() returns text language sql stable as
    $$ select current_setting('request.cookies', true) $$;
notify pgrst, 'reload schema';
"""


@pytest.fixture
async def things(bare_stack: StackHandle, http: httpx.AsyncClient) -> AsyncIterator[StackHandle]:
    """A table with rows of owners, and functions, after PostgREST has loaded them."""
    with psycopg.connect(bare_stack.db_url, autocommit=True) as database:
        database.execute(SCHEMA)
    async for attempt in AsyncRetrying(stop=stop_after_delay(20), wait=wait_fixed(0.05)):
        with attempt:
            (await _call_who(http, {"apikey": bare_stack.anon_key})).raise_for_status()
    yield bare_stack
    with psycopg.connect(bare_stack.db_url, autocommit=True) as database:
        database.execute("truncate public.things")


async def _call_who(http: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    return await http.post("/rest/v1/rpc/who", json={}, headers=headers)


async def test_api_key_of_each_kind_maps_to_its_role(things: StackHandle, http: httpx.AsyncClient) -> None:
    """JWT keys and `sb_...` keys, in the header or the URL, alone or also in `Authorization`."""
    for key, role in (
        (things.anon_key, "anon"),
        (things.publishable_key, "anon"),
        (things.service_role_key, "service_role"),
        (things.secret_key, "service_role"),
    ):
        alone = await _call_who(http, {"apikey": key})
        assert alone.json()["role"] == role
        both = await _call_who(http, {"apikey": key, "authorization": f"Bearer {key}"})
        assert both.json()["role"] == role
    in_url = await http.get("/rest/v1/rpc/who", params={"apikey": things.secret_key})
    assert in_url.json()["role"] == "service_role"


async def test_user_token_takes_precedence_over_the_api_key(
    things: StackHandle, http: httpx.AsyncClient, connect: Any
) -> None:
    """The key identifies the project, the token the user."""
    session = (await (await connect()).auth.sign_in_anonymously()).session
    headers = {"apikey": things.publishable_key, "authorization": f"Bearer {session.access_token}"}
    assert (await _call_who(http, headers)).json() == {
        "role": "authenticated",
        "sub": session.user.id,
        "claimed": "authenticated",
    }


@pytest.mark.parametrize(("headers", "message"), [({}, "No API key found in request"), (None, "Invalid API key")])
async def test_missing_or_wrong_api_key_returns_401(
    headers: dict[str, str] | None, message: str, http: httpx.AsyncClient
) -> None:
    """The messages are those of the platform's gateway."""
    response = await http.get("/rest/v1/things", headers={"apikey": "sb_secret_wrong"} if headers is None else headers)
    assert response.status_code == 401
    assert response.json()["message"] == message
    assert set(response.json()) == {"message", "hint"}


async def test_rls_hides_rows_of_other_users_through_the_client(things: StackHandle, connect: Any) -> None:
    """Each user sees only their own rows."""
    alice, bob = await connect(), await connect()
    await alice.auth.sign_in_anonymously()
    await bob.auth.sign_in_anonymously()
    await alice.table("things").insert({"id": 1, "body": "hers"}).execute()
    assert (await alice.table("things").select("body").execute()).data == [{"body": "hers"}]
    assert (await bob.table("things").select("body").execute()).data == []
    with pytest.raises(PostgrestAPIError) as error:
        await bob.table("things").insert({"id": 1, "body": "his"}).execute()
    assert error.value.code == "23505"


async def test_rest_responses_pass_the_gateway_unchanged(things: StackHandle, http: httpx.AsyncClient) -> None:
    """The gateway does not change ranges, counts, locations, content types and errors."""
    headers = {"apikey": things.service_role_key, "prefer": "count=exact,return=representation"}
    rows = [{"id": number, "body": f"ü {number}"} for number in range(5)]
    made = await http.post("/rest/v1/things", json=rows, headers=headers)
    assert made.status_code == 201
    some = await http.get("/rest/v1/things?order=id&id=lt.10", headers=headers | {"range": "1-2"})
    assert some.status_code == 206
    assert len(some.headers.get_list("date")) == 1
    assert some.headers["content-range"] == "1-2/5"
    assert [row["body"] for row in some.json()] == ["ü 1", "ü 2"]
    text = await http.get("/rest/v1/things?select=id,body", headers=headers | {"accept": "text/csv"})
    assert text.headers["content-type"].startswith("text/csv")
    head = await http.head("/rest/v1/things", headers=headers)
    assert (head.content, head.headers["content-range"]) == (b"", "0-4/5")
    assert (await http.patch("/rest/v1/rpc/echo", json={}, headers=headers)).status_code == 405
    missing = await http.get("/rest/v1/nothing", headers=headers)
    assert missing.status_code == 404
    gone = await http.request("DELETE", "/rest/v1/things?id=gte.0", headers=headers)
    assert len(gone.json()) == 5


@pytest.mark.parametrize(
    ("filters", "status"),
    [
        ("", 400),
        ("?select=id&order=id&limit=1", 400),
        ("?others.id=eq.1", 400),
        ("?id=eq.1", 204),
        ("?or=(id.eq.1,id.eq.2)", 204),
        ("?not.and=(id.eq.1,id.eq.2)", 204),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_rest_update_or_delete_without_a_filter_is_rejected(
    method: str, filters: str, status: int, things: StackHandle, http: httpx.AsyncClient
) -> None:
    """As on the platform, an update or delete without a filter is an error."""
    body = {"json": {"body": "x"}} if method == "PATCH" else {}
    headers = {"apikey": things.service_role_key}
    response = await http.request(method, f"/rest/v1/things{filters}", headers=headers, **body)
    assert response.status_code == status
    if status == 400:
        statement = {"PATCH": "UPDATE", "DELETE": "DELETE"}[method]
        assert (response.json()["code"], response.json()["message"]) == (
            "21000",
            f"{statement} requires a WHERE clause",
        )


async def test_rest_large_bodies_pass_in_both_directions(things: StackHandle, http: httpx.AsyncClient) -> None:
    """Several megabytes, with a declared length or in chunks."""
    value = "x" * 3_000_000
    body = f'{{"value": "{value}"}}'.encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    headers = {"apikey": things.anon_key, "content-type": "application/json"}
    for content in (body, chunks()):
        response = await http.post("/rest/v1/rpc/echo", content=content, headers=headers)
        assert response.json() == value


async def test_cookies_of_a_response_go_to_its_caller_alone(things: StackHandle, http: httpx.AsyncClient) -> None:
    """The proxy stores no cookies, since the next request may have another caller."""
    headers = {"apikey": things.anon_key}
    baked = await http.post("/rest/v1/rpc/bake", headers=headers)
    assert baked.headers["set-cookie"] == "session=hers"
    async with httpx.AsyncClient(base_url=things.api_url, timeout=60) as other:
        assert (await other.post("/rest/v1/rpc/cookie", headers=headers)).json() == "{}"
    assert (await http.post("/rest/v1/rpc/cookie", headers=headers)).json() == '{"session":"hers"}'


async def test_headers_outside_of_ascii_are_passed_on(things: StackHandle, http: httpx.AsyncClient) -> None:
    response = await _call_who(http, {"apikey": things.anon_key, "x-name": "Jürgen".encode()})
    assert response.status_code == 200


async def test_rest_path_escapes_are_passed_through_unchanged(things: StackHandle, http: httpx.AsyncClient) -> None:
    """The gateway does not decode escapes, so that PostgREST gets the name of the table unchanged."""
    response = await http.get("/rest/v1/no%2Fthing%20%C3%BC", headers={"apikey": things.anon_key})
    assert response.status_code == 404
    assert "no/thing ü" in response.json()["message"]


async def test_rest_serves_a_hundred_concurrent_requests(things: StackHandle, http: httpx.AsyncClient) -> None:
    """All of them share one connection pool."""
    headers = {"apikey": things.anon_key}
    responses = await asyncio.gather(
        *(http.post("/rest/v1/rpc/echo", json={"value": str(number)}, headers=headers) for number in range(100))
    )
    assert [response.json() for response in responses] == [str(number) for number in range(100)]
