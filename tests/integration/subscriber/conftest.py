"""A project whose smelts are worked on by the tests themselves, hand by hand."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hands import Hand
from proxies import FaultyProxy, faulty_proxy
from stacks import Stack, User, running_project, sign_up

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.subscriber.client import Client, connect

BRISK = Pace(heartbeat_s=0.3, answer_s=0.5)


@pytest.fixture(scope="session")
def workshop() -> Iterator[Stack]:
    """A stack of its own: the hands claim whatever is due."""
    with running_project() as project:
        yield project


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
async def quiet(workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll, and soon notices a silent socket."""
    project = Project(proxy.url, workshop.anon_key, access_token=user.access_token, pace=BRISK)
    async with Client(project, polling=False) as connected:
        yield connected


@pytest.fixture
async def hand(workshop: Stack) -> AsyncIterator[Hand]:
    async with Project(workshop.api_url, workshop.service_role_key) as project:
        yield Hand(project)
