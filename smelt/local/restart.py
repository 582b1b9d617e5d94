"""Starting what may fail for a moment, and starting again what ends by itself."""

import logging
from typing import Final, Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from smelt.local.errors import LocalTransientError

logger = logging.getLogger(__name__)

START_ATTEMPTS: Final = 5
RESTART_ATTEMPTS: Final = 8


class Service(Protocol):
    """What is to run as long as the stack does."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def start(self) -> None:
        """Start it and wait until it works."""

    async def wait(self) -> object:
        """Wait until it ends by itself."""


async def keep_running(service: Service) -> None:
    """Start a service again whenever it ends; raise `LocalTransientError` when that fails."""
    while True:
        status = await service.wait()
        logger.warning("%s ended by itself (%s); starting it again", service.name, status)
        async for attempt in attempts(RESTART_ATTEMPTS):
            with attempt:
                await service.start()


def attempts(count: int = START_ATTEMPTS) -> AsyncRetrying:
    """Try what is unavailable again, with growing pauses."""
    return AsyncRetrying(
        retry=retry_if_exception_type(LocalTransientError),
        stop=stop_after_attempt(count),
        wait=wait_exponential_jitter(initial=0.1, max=3.0, jitter=0.1),
        reraise=True,
    )
