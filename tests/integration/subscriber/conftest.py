"""A project in which the tests themselves take the role of the worker."""

from collections.abc import AsyncIterator, Iterator

import pytest

from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from smelt.subscriber.client import Client, connect
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, running_project, sign_up

SHORT_TIMEOUTS = RealtimeTimings(heartbeat_interval_s=0.3, reply_timeout_s=0.5)


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """A separate stack, since a scripted worker claims every smelt that is due."""
    with running_project() as project:
        yield project


@pytest.fixture
def user(shared_stack: Stack) -> User:
    return sign_up(shared_stack)


@pytest.fixture
async def proxy(shared_stack: Stack) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(shared_stack.api_url) as running:
        yield running


@pytest.fixture
async def client(shared_stack: Stack, user: User) -> AsyncIterator[Client]:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as connected:
        yield connected


@pytest.fixture
async def live_only_client(shared_stack: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll and detects a half-open socket soon."""
    project = Project(proxy.url, shared_stack.anon_key, access_token=user.access_token, timings=SHORT_TIMEOUTS)
    async with Client(project, polling=False) as connected:
        yield connected


@pytest.fixture
async def scripted_worker(shared_stack: Stack) -> AsyncIterator[ScriptedWorker]:
    async with Project(shared_stack.api_url, shared_stack.service_role_key) as project:
        yield ScriptedWorker(project)
