"""The fixture that gives the tests of smelt's users a client without a project."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smelt.testing import FakeClient


@pytest.fixture
def smelt_client() -> "FakeClient":
    """A client without a project: `smelt_client.add()` answers a smelt that the test drives by hand."""
    # Pytest loads this file for everybody who has smelt installed; only who uses it shall pay for more.
    from smelt.testing import FakeClient

    return FakeClient()
