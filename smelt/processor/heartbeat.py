"""The row of a worker in the database: that it is there, and what it does."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import SmeltError, TransientError

logger = logging.getLogger(__name__)

_EVERY_S: Final = 5.0
# However much happens, an operator who looks reads no faster.
_MIN_INTERVAL_S: Final = 2.0
LEAVE_TIMEOUT_S: Final = 1.0


class Heartbeat:
    """Keeps the row up to date with what `about` says."""

    def __init__(self, calls: WorkerRpc, worker_id: str, about: Callable[[], Mapping[str, Any]]) -> None:
        self._calls = calls
        self._worker_id = worker_id
        self._about = about
        self._changed = asyncio.Event()

    def beat(self) -> None:
        """There is something new to say."""
        self._changed.set()

    async def run_heartbeat(self) -> None:
        """Say what there is every few seconds, and soon after `beat`, until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self._calls.heartbeat_worker(self._worker_id, self._about())
            except TransientError as exc:
                logger.warning("heartbeat: %s", exc)
            await asyncio.sleep(_MIN_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S - _MIN_INTERVAL_S):
                    await self._changed.wait()

    async def leave(self) -> None:
        """Take the row away; when that does not work in a second, it stays as that of a worker that died."""
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._calls.remove_worker(self._worker_id)
        except (SmeltError, TimeoutError) as exc:
            logger.warning("leaving: %s", str(exc) or "no answer")
