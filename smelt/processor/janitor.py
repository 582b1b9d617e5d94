"""Removes what nobody may keep: audio of completed smelts, and whatever else has expired."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import RequestRejected, SmeltError

logger = logging.getLogger(__name__)

_EVERY_S: Final = 60.0


class Janitor:
    """Removes objects through Storage, then confirms; what fails is listed again, and to one worker at a time."""

    def __init__(self, project: Project, worker_id: str) -> None:
        self._project = project
        self._worker_id = worker_id
        self._calls = WorkerRpc(project.rpc)
        self._wanted = asyncio.Event()

    def call(self) -> None:
        """There is something to remove now."""
        self._wanted.set()

    async def run_janitor(self) -> None:
        """Clean when called, and every minute, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self.clean()
            except SmeltError as exc:
                logger.warning("removing what has expired: %s", exc)

    async def clean(self) -> None:
        """Remove everything that is listed; raises `SmeltError` while the project does not answer."""
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
            # Storage removes all or none: find the one that a row of the app references.
            for path in paths:
                try:
                    await self._project.audio.remove([path])
                except RequestRejected as exc:
                    logger.warning("object %s could not be removed: %s", path, exc)
