"""Keeps the row of a worker in the database up to date."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import SmeltError
from smelt.processor.periodic import Periodic

logger = logging.getLogger(__name__)

_HEARTBEAT_INTERVAL_S: Final = 5.0
# The row is for people, who need no faster updates.
_MIN_INTERVAL_S: Final = 2.0
LEAVE_TIMEOUT_S: Final = 1.0


class Heartbeat:
    """Writes the result of `info` to the row of the worker."""

    def __init__(self, calls: WorkerRpc, worker_id: str, host: str, info: Callable[[], Mapping[str, Any]]) -> None:
        self._calls = calls
        self._worker_id = worker_id
        self._host = host
        self._info = info
        self._heartbeats = Periodic("heartbeat", self._send, _HEARTBEAT_INTERVAL_S, pause_s=_MIN_INTERVAL_S)

    def request(self) -> None:
        """Send a heartbeat soon: `info` has changed."""
        self._heartbeats.request()

    async def run_heartbeat(self) -> None:
        """Send a heartbeat every 5 s, and within 2 s after `request`, until cancelled.

        Raises `SettingsError` once this worker cannot work with the project's schema any longer.
        """
        await self._heartbeats.run()

    async def leave(self) -> None:
        """Remove the row; after a timeout of 1 s it remains, like that of a crashed worker."""
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._calls.remove_worker(self._worker_id)
        except (SmeltError, TimeoutError) as exc:
            logger.warning("removing the row of the worker failed: %s", str(exc) or "no response")

    async def _send(self) -> None:
        schema = await self._calls.heartbeat_worker(self._worker_id, self._info(), host=self._host)
        schema.require_compatible()
