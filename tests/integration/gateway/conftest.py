"""A gateway over the shared project."""

from collections.abc import Iterator

import httpx
import pytest
from gateways import options_for, running_gateway
from stacks import Stack, User, sign_up


@pytest.fixture(scope="module")
def gateway_url(stack: Stack) -> Iterator[str]:
    """The URL of a gateway over the shared project."""
    with running_gateway(options_for(stack)) as gateway:
        yield gateway.url


@pytest.fixture
def user(stack: Stack) -> User:
    """A new user."""
    return sign_up(stack)


@pytest.fixture
def visitor(gateway_url: str) -> Iterator[httpx.Client]:
    """An HTTP client of the gateway without a credential."""
    with httpx.Client(base_url=gateway_url, timeout=30) as http:
        yield http


@pytest.fixture
def owner(gateway_url: str, user: User) -> Iterator[httpx.Client]:
    """An HTTP client of the gateway with the token of a new user."""
    with httpx.Client(
        base_url=gateway_url, timeout=30, headers={"Authorization": f"Bearer {user.access_token}"}
    ) as http:
        yield http
