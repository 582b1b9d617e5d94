"""Work that a worker repeats in the background: every few seconds, and on request."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from smelt.backend.waiting import wait_for_event
from smelt.errors import SmeltError, TransientError

logger = logging.getLogger(__name__)


class Periodic:
    """Repeats `work` every `interval_s` seconds, and soon after `request`.

    Args:
        name: The work, as a noun: a failure is logged as "{name} failed".
        work: Called once at a time.
        interval_s: Seconds from the end of the work to the next time.
        pause_s: The shortest time between them, also on request.
        at_once: Work at the start as well, before the first wait.
        logged: Errors after which the work is repeated as usual; others end it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        interval_s: float,
        *,
        pause_s: float = 0.0,
        at_once: bool = True,
        logged: type[SmeltError] = TransientError,
    ) -> None:
        self._name = name
        self._work = work
        self._interval_s = interval_s
        self._pause_s = pause_s
        self._at_once = at_once
        self._logged = logged
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Work soon; if the work is running, once more after it."""
        self._requested.set()

    async def run(self) -> None:
        """Work until cancelled."""
        if not self._at_once:
            await wait_for_event(self._requested, self._interval_s)
        while True:
            self._requested.clear()
            try:
                await self._work()
            except self._logged as exc:
                logger.warning("%s failed: %s", self._name, exc)
            await asyncio.sleep(self._pause_s)
            await wait_for_event(self._requested, self._interval_s - self._pause_s)
