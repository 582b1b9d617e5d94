"""Fixtures: a stack of an empty project, and official clients for it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from uuid import uuid4

import httpx
import pytest
from supabase import AsyncClient, AsyncClientOptions, create_async_client

from smelt.local import StackHandle
from tests.harness.stacks import TLS, running_local
from tests.integration.local.stack_projects import write_project

Connect = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture(scope="session")
def bare_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    """A stack of an empty project; tests create their own buckets and users in it."""
    project = write_project(tmp_path_factory.mktemp("bare"), config="[auth]\nenable_anonymous_sign_ins = true")
    with running_local(project) as stack:
        yield stack


@pytest.fixture
async def connect(bare_stack: StackHandle) -> AsyncIterator[Connect]:
    """Create supabase-py clients, with the anon key by default."""
    async with AsyncExitStack() as exits:

        async def make(key: str | None = None) -> AsyncClient:
            transport = await exits.enter_async_context(httpx.AsyncClient(timeout=60, verify=TLS))
            options = AsyncClientOptions(httpx_client=transport, auto_refresh_token=False, persist_session=False)
            return await create_async_client(bare_stack.api_url, key or bare_stack.anon_key, options)

        yield make


@pytest.fixture
async def http(bare_stack: StackHandle) -> AsyncIterator[httpx.AsyncClient]:
    """Plain HTTP to the stack, without headers of a client."""
    async with httpx.AsyncClient(base_url=bare_stack.api_url, timeout=60, verify=TLS) as client:
        yield client


@pytest.fixture
def address() -> str:
    """An unused email address."""
    return f"{uuid4().hex}@example.com"
