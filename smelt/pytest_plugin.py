"""The fixtures that give the tests of smelt's users a client without a project."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smelt.testing import FakeBlockingClient, FakeClient

# Pytest loads this file for everybody who has smelt installed, so that imports happen in the fixtures.


@pytest.fixture
def smelt_client() -> "FakeClient":
    """A client without a project: `smelt_client.add()` returns a smelt that the test drives by hand."""
    from smelt.testing import FakeClient

    return FakeClient()


@pytest.fixture
def smelt_blocking_client() -> "Iterator[FakeBlockingClient]":
    """The same without await, as `smelt.blocking.connect` returns it."""
    from smelt.testing import FakeBlockingClient

    with FakeBlockingClient() as client:
        yield client
