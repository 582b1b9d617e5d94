"""Tokens that expire during a watch."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from uuid import uuid4

import jwt
import pytest

from smelt.backend.project import Project
from smelt.contract.channels import smelt_channel
from smelt.errors import Unauthorized
from smelt.local import StackHandle
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Disconnected, Progress, Update
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, running_with_short_tokens, sign_up
from tests.harness.waiting import until
from tests.integration.subscriber.watch_recorder import WatchRecorder

OPAQUE_LIFETIME_S = 6


@pytest.fixture(scope="module")
def expiring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    """A stack in which the token of a connection with an opaque key expires soon."""
    with running_with_short_tokens(OPAQUE_LIFETIME_S, tmp_path_factory.mktemp("expiring")) as stack:
        yield stack


@pytest.fixture(scope="module")
def expired_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    """A stack whose gateway issues expired tokens, as with a clock that is slow; PostgREST accepts them for 30 s."""
    with running_with_short_tokens(0, tmp_path_factory.mktemp("behind")) as stack:
        yield stack


def short_lived(stack: Stack, user: User, lifetime_s: float) -> str:
    """Return a copy of a user's token that expires in `lifetime_s`."""
    assert isinstance(stack, StackHandle)
    claims = jwt.decode(user.access_token, stack.jwt_secret, algorithms=["HS256"], options={"verify_aud": False})
    return jwt.encode(claims | {"exp": int(time.time() + lifetime_s)}, stack.jwt_secret, algorithm="HS256")


async def collect_updates(client: Client, smelt_id: object, updates: list[Update]) -> None:
    async for update in client.watch(str(smelt_id)):
        updates.extend([update])


@pytest.mark.own_project("whose JWT secret they know")
async def test_token_renewal_after_expiry_rejoins_the_watch(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    responses: list[str | Exception] = [short_lived(shared_stack, user, 3), OSError("offline"), user.access_token]

    async def fresh() -> str:
        response = responses.pop(0) if len(responses) > 1 else responses[0]
        if isinstance(response, Exception):
            raise response
        return response

    async with connect(shared_stack.api_url, shared_stack.anon_key, fresh, polling=False) as client:
        created = await client.create(text="Ship it on Monday.")
        updates: list[Update] = []
        watching = asyncio.create_task(collect_updates(client, created.id, updates))
        await until(lambda: updates)
        await until(lambda: client.diagnostics().watches[0].rejoin_count, timeout_s=60)
        assert responses == [user.access_token]
        job = await scripted_worker.claim(created.id)
        await job.report("synthesizing", 80)
        await until(lambda: isinstance(updates[-1], Progress) and updates[-1].percentage == 80)
        await job.complete()
        await asyncio.wait_for(watching, 30)
        assert isinstance(updates[-1], Completed)


@pytest.mark.own_project("whose JWT secret they know")
async def test_token_expiry_without_renewal_ends_the_watch_as_unauthorized(shared_stack: Stack, user: User) -> None:
    # With polling the watch would end up to 30 s later: PostgREST tolerates that much clock skew.
    token = short_lived(shared_stack, user, 3)
    async with connect(shared_stack.api_url, shared_stack.anon_key, token, polling=False) as client:
        created = await client.create(text="Ship it on Monday.")
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(collect_updates(client, created.id, []), 60)


async def test_completion_is_not_missed_while_tokens_of_an_opaque_key_expire(expiring: StackHandle) -> None:
    """Each time the channels are lost, a smelt ends before they are joined again."""
    user = sign_up(expiring)
    async with (
        connect(expiring.api_url, expiring.publishable_key, user.access_token, polling=False) as own,
        connect(expiring.api_url, expiring.secret_key, polling=False) as backend,
        Project(expiring.api_url, expiring.secret_key) as project,
    ):
        scripted_worker = ScriptedWorker(project)
        smelts = [await own.create(text="Ship it on Monday.") for _ in range(4)]
        going, *ending = [await scripted_worker.claim(smelt.id) for smelt in smelts]
        viewers = [WatchRecorder(client, smelt.id) for smelt in smelts for client in (backend, own)]
        await until(lambda: all(viewer.joined for viewer in viewers))
        async with aclosing(backend.watch(smelts[0].id, connection_events=True)) as items:
            async for item in items:
                if isinstance(item, Disconnected):
                    await ending.pop().complete()
                if not ending:
                    break
        await until(lambda: viewers[0].joined)
        await going.complete()
        for viewer in viewers:
            await viewer.end()
        assert own.diagnostics().connection.reconnect_count == 0, "the token of a user did not expire"


async def test_rejoin_after_token_expiry_covers_channels_of_several_sockets(expiring: StackHandle) -> None:
    async with Project(expiring.api_url, expiring.secret_key) as project:
        channels = [await project.realtime.join(smelt_channel(str(uuid4()))) for _ in range(130)]
        for count in range(3):
            await until(lambda count=count: all(one.joined and one.rejoin_count >= count for one in channels))
        assert project.realtime.report().socket_count == 2
        assert not any(channel.error for channel in channels)


async def test_token_issued_after_its_expiry_ends_a_watch_without_polling(expired_stack: StackHandle) -> None:
    async with connect(expired_stack.api_url, expired_stack.publishable_key, polling=False) as client:
        created = await client.create(text="Ship it on Monday.")
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(collect_updates(client, created.id, []), 60)
