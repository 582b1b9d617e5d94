"""A project whose smelts are worked on by the tests themselves, hand by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hands import Hand
from proxies import FaultyProxy, faulty_proxy
from stacks import RemoteStack, Stack, User, sign_up

from smelt.backend.project import Project
from smelt.local import LocalStack
from smelt.subscriber.client import Client, connect


@pytest.fixture(scope="session")
def workshop() -> Iterator[Stack]:
    """A stack of its own: the hands claim whatever is due."""
    remote = RemoteStack.from_env()
    if remote is not None:
        yield remote
        return
    local = LocalStack.from_env()
    with asyncio.Runner() as runner:
        runner.run(local.__aenter__())
        try:
            yield local
        finally:
            runner.run(local.__aexit__(None, None, None))


@pytest.fixture
def user(workshop: Stack) -> User:
    return sign_up(workshop)


@pytest.fixture
async def proxy(workshop: Stack) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(workshop.api_url) as running:
        yield running


@pytest.fixture
async def client(workshop: Stack, user: User) -> AsyncIterator[Client]:
    async with connect(workshop.api_url, workshop.anon_key, user.access_token) as connected:
        yield connected


@pytest.fixture
async def hand(workshop: Stack) -> AsyncIterator[Hand]:
    async with Project(workshop.api_url, workshop.service_role_key) as project:
        yield Hand(project)
