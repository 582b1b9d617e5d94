"""Requests of one identity share a client, which calls only with tokens that the project has accepted."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from uuid import UUID

import httpx
import pytest

from smelt.backend.pool import Pool
from smelt.errors import NotFound, Unauthorized
from smelt.gateway.callers import Callers
from smelt.gateway.clients import Clients
from tests.harness.gateways import options_for
from tests.harness.stacks import TLS, Stack, User, sign_up
from tests.harness.waiting import until


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with aclosing(Pool(None, 30)) as opened:
        yield opened


@pytest.fixture
def callers(shared_stack: Stack, pool: Pool) -> Callers:
    return Callers(options_for(shared_stack), pool)


@pytest.fixture
async def clients(pool: Pool) -> AsyncIterator[Clients]:
    async with aclosing(Clients(pool)) as opened:
        yield opened


def sign_in(stack: Stack, user: User) -> str:
    """Return another token of a user."""
    response = httpx.post(
        f"{stack.api_url}/auth/v1/token?grant_type=password",
        headers={"apikey": stack.anon_key},
        json={"email": user.email, "password": user.password},
        timeout=60,
        verify=TLS,
    )
    return str(response.json()["access_token"])


def forged(token: str) -> str:
    """Return a token with a later expiry and the signature of the given one."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "exp": int(time.time()) + 10**6}).encode())
    return f"{head}.{changed.decode().rstrip('=')}.{signature}"


async def test_clients_are_shared_by_the_requests_of_one_user(
    shared_stack: Stack, user: User, callers: Callers, clients: Clients
) -> None:
    tokens = (user.access_token, user.access_token, sign_in(shared_stack, user), sign_up(shared_stack).access_token)
    first, second, third, other = [callers.caller(token, "") for token in tokens]
    async with AsyncExitStack() as leases:
        a, b, c, d = [await leases.enter_async_context(clients.lease(one)) for one in (first, second, third, other)]
        assert a is b is c is not d
        assert clients.count == 2


async def test_clients_reject_a_forged_token_and_keep_theirs(
    shared_stack: Stack, user: User, callers: Callers, clients: Clients
) -> None:
    attacker = callers.caller(forged(user.access_token), "")
    with pytest.raises(Unauthorized):
        async with clients.lease(attacker):
            pass
    assert clients.count == 0
    async with clients.lease(callers.caller(user.access_token, "")) as client:
        created = await client.create(text="Ship it.")
        with pytest.raises(Unauthorized):
            async with clients.lease(attacker):
                pass
        assert (await client.get(created.id)).id == created.id


async def test_clients_are_closed_once_they_are_idle(user: User, pool: Pool, callers: Callers) -> None:
    async with aclosing(Clients(pool, idle_s=0.05)) as clients:
        caller = callers.caller(user.access_token, "")
        async with clients.lease(caller) as first:
            async with clients.lease(caller) as second:
                assert first is second
            await first.create(text="Ship it.")
        await until(lambda: clients.count == 0)
        async with clients.lease(caller) as third:
            assert third is not first
            await third.create(text="Ship it.")


async def test_clients_of_read_only_tokens_are_that_of_the_service(
    shared_stack: Stack, user: User, callers: Callers, clients: Clients
) -> None:
    assert callers.read_tokens is not None
    async with clients.lease(callers.caller(user.access_token, "")) as client:
        ids = [(await client.create(text="Ship it.")).id for _ in range(2)]
    readers = []
    for smelt_id in ids:
        token, _ = callers.read_tokens.issue(smelt_id, time.time())
        readers.append(callers.reader(token, smelt_id, now=time.time()))
    async with clients.lease(readers[0]) as first, clients.lease(readers[1]) as second:
        assert first is second
        assert (await first.get(ids[0])).id == ids[0]
    async with clients.lease(callers.caller(None, "")) as client:
        with pytest.raises(NotFound):
            await client.get(ids[0])
    assert readers[0].identity == f"smelt:{ids[0]}"


def test_visitors_are_counted_by_address_and_users_by_id(callers: Callers, user: User, shared_stack: Stack) -> None:
    by_address = {callers.caller(key, address).counted_as for key in (None, shared_stack.anon_key) for address in "ab"}
    assert by_address == {"visitor a", "visitor b"}
    assert {callers.caller(user.access_token, address).counted_as for address in "ab"} == {user.id}
    assert callers.caller(shared_stack.service_role_key, "a").identity == "service"
    assert UUID(callers.caller(user.access_token, "").identity)
