"""Pytest fixtures: clients without a project, for the tests of apps."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smelt.testing import FakeBlockingClient, FakeClient

# Pytest loads this file wherever smelt is installed: only tests that use the fixtures import the rest.


@pytest.fixture
def smelt_client() -> "FakeClient":
    """A client without a project; `smelt_client.add()` returns a smelt that the test controls."""
    from smelt.testing import FakeClient

    return FakeClient()


@pytest.fixture
def smelt_blocking_client() -> "Iterator[FakeBlockingClient]":
    """The blocking counterpart of `smelt_client`."""
    from smelt.testing import FakeBlockingClient

    with FakeBlockingClient() as client:
        yield client
