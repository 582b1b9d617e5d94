"""Fixtures with a scripted Realtime server, and without delays between attempts."""

from collections.abc import AsyncIterator, Iterator

import pytest

from smelt.backend.retries import without_waiting
from tests.integration.backend.scripted_realtime import ScriptedRealtime, scripted_realtime


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRealtime]:
    async with scripted_realtime() as running:
        yield running


@pytest.fixture
def no_backoff() -> Iterator[None]:
    with without_waiting():
        yield
