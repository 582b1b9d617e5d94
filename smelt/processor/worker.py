"""A worker: claims smelts, works on several at once, and leaves nothing behind when it is told to stop."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import SmeltError, TransientError
from smelt.processor.attempt import SmeltAttempt
from smelt.processor.broadcasts import Announcer
from smelt.processor.claim_loop import ClaimLoop
from smelt.processor.heartbeat import LEAVE_TIMEOUT_S, Heartbeat
from smelt.processor.janitor import Janitor
from smelt.processor.leases import Leases
from smelt.processor.logs import SmeltLog
from smelt.processor.metrics import Metrics, served
from smelt.processor.options import WorkerOptions
from smelt.processor.services import WorkerServices
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speed import SpeedEstimate
from smelt.processor.synthesis.factory import create_synthesizer
from smelt.processor.workspace import Workspace, workspace

__all__ = ["Worker", "WorkerOptions"]

logger = logging.getLogger(__name__)

# What saving checkpoints and giving smelts back may take, and then the farewell: the end of the drain time.
_RELEASE_S: Final = 3.0
LEAVE_S: Final = _RELEASE_S + LEAVE_TIMEOUT_S


class Worker:
    """Works for one project until told to stop; raises `SettingsError` or `Unauthorized` when it can't work at all."""

    def __init__(self, project: Project, options: WorkerOptions) -> None:
        self._project = project
        self._options = options
        self._calls = WorkerRpc(project.rpc)
        self._claims = ClaimLoop(project, options)
        self._janitor = Janitor(project, options.worker_id)
        self._heartbeat = Heartbeat(self._calls, options.worker_id, self._about)
        self._metrics = Metrics()
        self._started_s = time.monotonic()
        self._state: Literal["loading", "working", "draining"] = "loading"
        self._running: dict[asyncio.Task[None], SmeltAttempt] = {}

    async def run(self, *, once: bool = False, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain; with `once`, until nothing can be claimed."""
        async with served(self._metrics, self._calls, self._options.metrics_host, self._options.metrics_port):
            await self._run(once=once, stop=stop)

    async def _run(self, *, once: bool, stop: asyncio.Event) -> None:
        with workspace(self._options.temp_dir) as folder:
            tools = self._tools(folder)
            try:
                await self._claims.listen()
                upkeep = (
                    tools.leases.run_renewals(),
                    tools.announcer.run_sweeps(),
                    self._janitor.run_janitor(),
                    self._heartbeat.run_heartbeat(),
                    tools.model.keep_loaded(),
                )
                async with _kept_up(*upkeep) as failed:
                    try:
                        await self._claim_until(failed, stop, tools, once=once)
                        await self._drain(failed)
                    finally:
                        await self._give_back()
                    if once:
                        await self._tidy(tools)
            finally:
                tools.threads.shut_down()
                await tools.synthesizer.aclose()
                await self._heartbeat.leave()

    def _tools(self, folder: Workspace) -> WorkerServices:
        options, pace = self._options, SpeedEstimate()
        self._metrics.follow(pace)
        return WorkerServices(
            project=self._project,
            calls=self._calls,
            announcer=Announcer(self._project, options.worker_id, self._metrics),
            leases=Leases(self._calls, options.worker_id, options.lease_s),
            workspace=folder,
            model=SharedModel(options.model_options, options.speech_options, options.model_idle_s),
            synthesizer=create_synthesizer(options),
            options=options,
            metrics=self._metrics,
            pace=pace,
        )

    async def _claim_until(
        self, failed: "asyncio.Future[None]", stop: asyncio.Event, tools: WorkerServices, *, once: bool
    ) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._until_ready(failed, stopping, tools)
            while not stopping.done() and not failed.done():
                if not await self._take(tools, once=once) and once and not self._running:
                    return
                sleeping = asyncio.create_task(self._claims.sleep(has_room=self._room > 0, is_busy=bool(self._running)))
                waiting: set[asyncio.Future[Any]] = {stopping, sleeping, failed}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                sleeping.cancel()
        finally:
            stopping.cancel()

    async def _until_ready(
        self, failed: "asyncio.Future[None]", stopping: asyncio.Future[Any], tools: WorkerServices
    ) -> None:
        # Whoever can't load a model, or dies of it over and over, takes nothing from those who can.
        loading = tools.model.start()
        waiting: set[asyncio.Future[Any]] = {loading, stopping, failed}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            if loading.exception() is not None:
                await failed
            self._state = "working"

    async def _take(self, tools: WorkerServices, *, once: bool) -> int:
        if self._room <= 0:
            return 0
        self._claims.hold_off()
        try:
            # A worker whose disk is full would fail what others can do.
            await asyncio.to_thread(tools.workspace.require_space)
            # A lease that ran out, as while the project did not answer, would be claimed like any other.
            await tools.leases.renew()
            claims = await self._claims.claim(self._room)
        except TransientError as exc:
            if once:
                raise
            logger.warning("claiming smelts: %s", exc)
            return 0
        self._metrics.claimed(len(claims))
        for claim in claims:
            smelting = SmeltAttempt(claim, tools)
            task = asyncio.create_task(smelting.run(), name=f"smelting {claim.id}")
            self._running[task] = smelting
            task.add_done_callback(self._ended)
            self._heartbeat.beat()
        return len(claims)

    @property
    def _room(self) -> int:
        return self._options.concurrency - len(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        smelting = self._running.pop(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            # Its lease runs out, and whoever claims it next goes on from its last checkpoint.
            SmeltLog(logger, smelting.claim).error("left to its lease", exc_info=exc)
        self._janitor.call()
        self._claims.wake()
        self._heartbeat.beat()

    async def _drain(self, failed: "asyncio.Future[None]") -> None:
        if not self._running:
            return
        self._state = "draining"
        self._heartbeat.beat()
        logger.info("draining %s smelts within %.0f s", len(self._running), self._options.drain_s)
        grace_s = 0.0 if failed.done() else max(0.0, self._options.drain_s - LEAVE_S)
        await asyncio.wait(set(self._running), timeout=grace_s)

    async def _give_back(self) -> None:
        for smelting in self._running.values():
            smelting.stop("draining")
        if self._running:
            await asyncio.wait(set(self._running), timeout=_RELEASE_S)

    async def _tidy(self, tools: WorkerServices) -> None:
        try:
            await tools.announcer.sweep()
            await self._janitor.clean()
        except SmeltError as exc:
            logger.warning("what is left is up to the next worker: %s", exc)

    def _about(self) -> dict[str, Any]:
        return {
            "model": self._options.model,
            "concurrency": self._options.concurrency,
            "state": self._state,
            "smelts": [smelting.about for smelting in self._running.values()],
            "up_seconds": round(time.monotonic() - self._started_s),
        }


@asynccontextmanager
async def _kept_up(*upkeep: Coroutine[Any, Any, None]) -> "AsyncIterator[asyncio.Future[None]]":
    """Run upkeep in the background; the future tells when a part of it has failed, which then is raised at the end."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not failed.done():
            failed.set_result(None)

    tasks = [asyncio.create_task(coroutine) for coroutine in upkeep]
    for task in tasks:
        task.add_done_callback(note)
    try:
        yield failed
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
