"""Tokens expire while a smelt is watched."""

import asyncio
import time

import jwt
import pytest
from hands import Hand
from stacks import Stack, User
from waiting import until

from smelt.errors import Unauthorized
from smelt.local import StackHandle
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Progress, Update

pytestmark = pytest.mark.own_project("whose JWT secret they know")


def short_lived(stack: Stack, user: User, lifetime_s: float) -> str:
    """The token of a user as it would be if it expired soon."""
    assert isinstance(stack, StackHandle)
    claims = jwt.decode(user.access_token, stack.jwt_secret, algorithms=["HS256"], options={"verify_aud": False})
    return jwt.encode(claims | {"exp": int(time.time() + lifetime_s)}, stack.jwt_secret, algorithm="HS256")


async def gather(client: Client, smelt_id: object, told: list[Update]) -> None:
    async for update in client.watch(str(smelt_id)):
        told.extend([update])


async def test_a_watch_outlives_its_token_when_there_is_a_fresh_one_if_not_at_once(
    workshop: Stack, user: User, hand: Hand
) -> None:
    answers: list[str | Exception] = [short_lived(workshop, user, 3), OSError("offline"), user.access_token]

    async def fresh() -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with connect(workshop.api_url, workshop.anon_key, fresh, polling=False) as client:
        created = await client.create(text="Ship it on Monday.")
        told: list[Update] = []
        watching = asyncio.create_task(gather(client, created.id, told))
        await until(lambda: told)
        await until(lambda: client.diagnostics().watches[0].rejoin_count, within_s=60)
        assert answers == [user.access_token]
        job = await hand.claim(created.id)
        await job.report("synthesizing", 80)
        await until(lambda: isinstance(told[-1], Progress) and told[-1].percentage == 80)
        await job.complete()
        await asyncio.wait_for(watching, 30)
        assert isinstance(told[-1], Completed)


async def test_a_watch_ends_with_its_token_when_there_is_no_other(workshop: Stack, user: User) -> None:
    # While polling it would end up to half a minute later: PostgREST allows for that much difference of clocks.
    token = short_lived(workshop, user, 3)
    async with connect(workshop.api_url, workshop.anon_key, token, polling=False) as client:
        created = await client.create(text="Ship it on Monday.")
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(gather(client, created.id, []), 60)
