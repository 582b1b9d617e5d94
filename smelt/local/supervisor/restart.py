"""Retries starts that fail transiently, and restarts services that exit."""

import logging
from typing import Final, Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from smelt.local.errors import LocalTransientError

logger = logging.getLogger(__name__)

START_ATTEMPTS: Final = 5
RESTART_ATTEMPTS: Final = 8


class Service(Protocol):
    """A server that must run as long as the stack."""

    @property
    def name(self) -> str:
        """The name for log lines."""

    async def start(self) -> None:
        """Start the service and wait until it is ready."""

    async def wait(self) -> object:
        """Wait until the service exits by itself."""


async def keep_running(service: Service) -> None:
    """Restart a service whenever it exits; raise `LocalTransientError` if a restart fails."""
    while True:
        status = await service.wait()
        logger.warning("%s exited unexpectedly (%s); restarting it", service.name, status)
        async for attempt in attempts(RESTART_ATTEMPTS):
            with attempt:
                await service.start()


def attempts(count: int = START_ATTEMPTS) -> AsyncRetrying:
    """Retry on `LocalTransientError`, with exponential backoff."""
    return AsyncRetrying(
        retry=retry_if_exception_type(LocalTransientError),
        stop=stop_after_attempt(count),
        wait=wait_exponential_jitter(initial=0.1, max=3.0, jitter=0.1),
        reraise=True,
    )
