"""Purges audio of completed smelts, and everything else whose retention is over."""

import logging
from collections.abc import Sequence
from typing import Final

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import RequestRejected, SmeltError
from smelt.processor.periodic import Periodic

logger = logging.getLogger(__name__)

_PURGE_INTERVAL_S: Final = 60.0


class Janitor:
    """Removes objects through Storage, then confirms; failed removals are listed again. One worker at a time purges."""

    def __init__(self, project: Project, worker_id: str) -> None:
        self._project = project
        self._worker_id = worker_id
        self._calls = WorkerRpc(project.rpc)
        self._purges = Periodic("purging", self.purge, _PURGE_INTERVAL_S, at_once=False, logged=SmeltError)

    def request_purge(self) -> None:
        """Purge soon: there is something to remove."""
        self._purges.request()

    async def run_janitor(self) -> None:
        """Purge on request and every minute, until cancelled."""
        await self._purges.run()

    async def purge(self) -> None:
        """Remove everything that is listed; raises `SmeltError` if the project does not respond."""
        while True:
            expired = await self._calls.list_expired(self._worker_id)
            if not expired.objects and not expired.smelts:
                return
            paths = [found.path for found in expired.objects]
            await self._remove(paths)
            confirmed = await self._calls.confirm_purged(paths, expired.smelts)
            logger.info("removed %s objects, %s smelts", len(paths), len(expired.smelts) - len(confirmed.failed))
            for failure in confirmed.failed:
                logger.warning("smelt %s could not be purged: %s", failure.smelt_id, failure.error)
            if not confirmed.purged:
                return

    async def _remove(self, paths: Sequence[str]) -> None:
        try:
            await self._project.audio.remove(paths)
        except RequestRejected:
            # Storage removes all or none: find the object that a row of the app references.
            for path in paths:
                try:
                    await self._project.audio.remove([path])
                except RequestRejected as exc:
                    logger.warning("object %s could not be removed: %s", path, exc)
