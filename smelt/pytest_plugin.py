"""The pytest fixture `smelt_client`: a client without a project, for the tests of apps."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smelt.testing import FakeClient


@pytest.fixture
def smelt_client() -> "FakeClient":
    """A client without a project; `smelt_client.add()` returns a smelt that the test controls."""
    # Pytest loads this file wherever smelt is installed; only tests that use the fixture import the rest.
    from smelt.testing import FakeClient

    return FakeClient()
