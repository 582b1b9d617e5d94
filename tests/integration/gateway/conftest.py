"""A gateway over a project in which the tests themselves take the role of the worker."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from smelt.backend.project import Project
from tests.harness.gateways import Open, RunningGateway, http_client, options_for, running_gateway
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, running_project, sign_up


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """A separate stack, since a scripted worker claims every smelt that is due."""
    with running_project() as project:
        yield project


@pytest.fixture(scope="module")
def gateway(shared_stack: Stack) -> Iterator[RunningGateway]:
    """A gateway over the project; not for the session, as tests of other modules replace the clock of this process."""
    with running_gateway(options_for(shared_stack)) as running:
        yield running


@pytest.fixture
def user(shared_stack: Stack) -> User:
    return sign_up(shared_stack)


@pytest.fixture
async def as_caller(gateway: RunningGateway) -> AsyncIterator[Open]:
    """A function that returns an HTTP client of the gateway with a credential."""
    opened: list[httpx.AsyncClient] = []

    def open_client(credential: str | None) -> httpx.AsyncClient:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        opened.append(http_client(gateway.url, headers))
        return opened[-1]

    yield open_client
    for http in opened:
        await http.aclose()


@pytest.fixture
def visitor(as_caller: Open) -> httpx.AsyncClient:
    return as_caller(None)


@pytest.fixture
def owner(as_caller: Open, user: User) -> httpx.AsyncClient:
    return as_caller(user.access_token)


@pytest.fixture
async def project_of_user(shared_stack: Stack, user: User) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the project itself, as the user."""
    headers = {"apikey": shared_stack.anon_key, "Authorization": f"Bearer {user.access_token}"}
    async with http_client(shared_stack.api_url, headers) as http:
        yield http


@pytest.fixture
async def scripted_worker(shared_stack: Stack) -> AsyncIterator[ScriptedWorker]:
    async with Project(shared_stack.api_url, shared_stack.service_role_key) as project:
        yield ScriptedWorker(project)
