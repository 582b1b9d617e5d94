"""A worker: claims smelts, works on several concurrently, and drains when it is stopped."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from smelt.backend.project import Project
from smelt.backend.waiting import wait_for_event
from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import SettingsError, SmeltError, TransientError
from smelt.processor.attempt import SmeltAttempt
from smelt.processor.broadcasts import Announcer
from smelt.processor.claim_loop import ClaimLoop
from smelt.processor.dispatcher import Dispatcher
from smelt.processor.errors import ModelSuspended
from smelt.processor.heartbeat import LEAVE_TIMEOUT_S, Heartbeat
from smelt.processor.janitor import Janitor
from smelt.processor.leases import Leases
from smelt.processor.logs import SmeltLog
from smelt.processor.metrics import Metrics, serve_metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.options import WorkerOptions
from smelt.processor.polling import Contact
from smelt.processor.services import WorkerServices
from smelt.processor.speakers.finder import SpeakerFinder
from smelt.processor.speech.shared import SharedModel, create_model
from smelt.processor.synthesis.factory import create_synthesizer
from smelt.processor.webhooks import Deliveries, Sender
from smelt.processor.workspace import Workspace, workspace

__all__ = ["Worker", "WorkerOptions"]

logger = logging.getLogger(__name__)

# The end of the drain time: saving checkpoints and releasing smelts, then removing the worker's row.
_RELEASE_TIMEOUT_S: Final = 3.0
SHUTDOWN_TIMEOUT_S: Final = _RELEASE_TIMEOUT_S + LEAVE_TIMEOUT_S
# Also without time to drain: smelts whose claim is abandoned wait until their leases expire.
_MIN_CLAIM_TIMEOUT_S: Final = 1.0
_SCHEMA_RETRY_INTERVAL_S: Final = 2.0
# Between claims while the machine does not start processes for files.
_MIN_PAUSE_S: Final = 5.0
_MAX_PAUSE_S: Final = 300.0


class Worker:
    """Works for one project until stopped; raises `SettingsError` or `Unauthorized` if it can't work at all.

    `model` is one of `create_model` that is being loaded already; the worker ends it.
    """

    def __init__(self, project: Project, options: WorkerOptions, model: SharedModel | None = None) -> None:
        self._project = project
        self._options = options
        self._model = model or create_model(options)
        self._calls = WorkerRpc(project.rpc)
        self._contact = Contact()
        self._claim_loop = ClaimLoop(project, options, self._contact)
        self._janitor = Janitor(project, options.worker_id)
        self._heartbeat = Heartbeat(self._calls, options.worker_id, options.host, self._info)
        self._metrics = Metrics()
        sender = Sender(allow_private=options.webhook_allow_private)
        self._deliveries = Deliveries(project, options.worker_id, self._metrics, sender)
        self._once = False
        self._started_s = time.monotonic()
        self._state: Literal["loading", "working", "draining"] = "loading"
        self._services: WorkerServices | None = None
        self._is_suspended = False
        self._pause_s = _MIN_PAUSE_S
        self._paused_until_s = 0.0
        self._claiming: asyncio.Task[int] | None = None
        self._running: dict[asyncio.Task[None], SmeltAttempt] = {}

    async def run(self, *, once: bool = False, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain; with `once`, until nothing can be claimed."""
        self._once = once
        metrics_host, metrics_port = self._options.metrics_host, self._options.metrics_port
        try:
            async with serve_metrics(self._metrics, self._calls, metrics_host, metrics_port):
                await self._require_schema(once=once, stop=stop)
                await self._run(once=once, stop=stop)
        finally:
            await self._model.aclose()

    async def _require_schema(self, *, once: bool, stop: asyncio.Event) -> None:
        """Raise `SettingsError` if this worker cannot work with the project's schema; wait until that is known."""
        while not stop.is_set():
            try:
                health = await self._calls.get_health()
            except TransientError as exc:
                if once:
                    raise
                logger.warning("reading the version of the schema: %s", exc)
            else:
                health.require_compatible()
                return
            await wait_for_event(stop, _SCHEMA_RETRY_INTERVAL_S)

    async def _run(self, *, once: bool, stop: asyncio.Event) -> None:
        with workspace(self._options.temp_dir) as folder:
            services = self._create_services(folder)
            try:
                await self._claim_loop.join()
                background = (
                    services.leases.run_renewals(),
                    services.announcer.run_sweeps(),
                    self._janitor.run_janitor(),
                    self._deliveries.run_deliveries(),
                    self._heartbeat.run_heartbeat(),
                    services.engine.run_until_load_fails(),
                )
                async with _in_background(*background) as failed:
                    try:
                        await self._claim_until_stopped(failed, stop, services, once=once)
                        await self._drain(failed)
                    finally:
                        await self._release_running()
                    if once:
                        await self._clean_up(services)
            finally:
                if services.dispatcher is not None:
                    await services.dispatcher.aclose()
                await services.decoders.aclose()
                await services.synthesizer.aclose()
                await self._heartbeat.leave()

    def _create_services(self, folder: Workspace) -> WorkerServices:
        options, model = self._options, self._model
        model.subscribe(
            on_death=self._metrics.model_died,
            on_suspended=lambda: self._on_suspended(is_suspended=model.is_suspended),
        )
        self._metrics.show_speed(model.speed)
        self._services = services = WorkerServices(
            project=self._project,
            calls=self._calls,
            announcer=Announcer(self._project, options.worker_id, self._metrics),
            leases=Leases(self._calls, options.worker_id, options.lease_s, self._contact),
            workspace=folder,
            model=model,
            synthesizer=create_synthesizer(options),
            speakers=None if options.speaker_model is None else SpeakerFinder(options.speaker_model),
            options=options,
            dispatcher=None if options.dispatch is None else Dispatcher(options.dispatch, self._on_dispatch_suspended),
            metrics=self._metrics,
            speed=model.speed,
            model_queue=ModelQueue(lambda: model.lanes),
        )
        self._metrics.show_model(lambda: model.pid, lambda: services.engine.is_suspended)
        return services

    async def _claim_until_stopped(
        self, failed: "asyncio.Future[None]", stop: asyncio.Event, services: WorkerServices, *, once: bool
    ) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._wait_until_loaded(failed, stopping, services, once=once)
            while not stopping.done() and not failed.done():
                claiming = self._claiming = asyncio.create_task(self._claim(stop, services, once=once))
                waiting: set[asyncio.Future[Any]] = {stopping, claiming, failed}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not claiming.done():
                    return
                claimed_count = claiming.result()
                if once and not (claimed_count or self._running or self._claim_loop.expects_expired_leases):
                    return
                sleeping = asyncio.create_task(
                    self._claim_loop.sleep(has_room=self._free_slots > 0, is_busy=bool(self._running))
                )
                waiting = {stopping, sleeping, failed}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                sleeping.cancel()
        finally:
            stopping.cancel()

    async def _wait_until_loaded(
        self, failed: "asyncio.Future[None]", stopping: asyncio.Future[Any], services: WorkerServices, *, once: bool
    ) -> None:
        # Claim nothing before the model is loaded: a worker that can't load it would take smelts from others.
        loading = asyncio.create_task(services.engine.wait_usable(while_suspended=not once))
        try:
            await asyncio.wait({loading, stopping, failed}, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                if isinstance(loading.exception(), SettingsError):
                    await failed
                else:
                    loading.result()
                    self._state = "working"
                    # Not before: it would slow down the load.
                    services.synthesizer.prestart()
        finally:
            loading.cancel()

    async def _claim(self, stop: asyncio.Event, services: WorkerServices, *, once: bool) -> int:
        if services.engine.is_suspended and once:
            raise ModelSuspended("the model does not work on this machine, or the external service accepts nothing")
        if self._free_slots <= 0 or services.engine.is_suspended:
            await self._claim_loop.wake_others()
            return 0
        self._claim_loop.postpone()
        if self._is_paused:
            await self._claim_loop.wake_others()
            return 0
        try:
            if not self._claim_loop.is_recheck:
                # With a full disk, this worker would fail smelts that others can process.
                await asyncio.to_thread(services.workspace.require_space)
                # Renew first: after an outage, this worker could claim a smelt whose own lease has expired.
                await services.leases.renew()
                if stop.is_set():
                    return 0
            claims = await self._claim_loop.claim(self._free_slots, models=services.engine.names)
        except TransientError as exc:
            if once:
                raise
            logger.warning("claiming smelts failed: %s", exc)
            self._claim_loop.retry_follow_up()
            return 0
        self._metrics.claimed(len(claims))
        for claim in claims:
            attempt = SmeltAttempt(claim, services)
            task = asyncio.create_task(attempt.run(), name=f"attempt {claim.id}")
            self._running[task] = attempt
            task.add_done_callback(self._on_ended)
            self._heartbeat.request()
        return len(claims)

    @property
    def _is_paused(self) -> bool:
        """True for a time after a smelt that this worker can't process, from its release on."""
        is_releasing = any(attempt.found_worker_unusable or attempt.is_mismatched for attempt in self._running.values())
        return is_releasing or time.monotonic() < self._paused_until_s

    @property
    def _free_slots(self) -> int:
        return self._concurrency - len(self._running)

    @property
    def _concurrency(self) -> int:
        """The number of smelts in progress; by default, one more than the lanes of the model prepares."""
        return self._options.concurrency or 1 + self._model.lanes

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        attempt = self._running.pop(task)
        if attempt.is_mismatched:
            # The smelt is due again; another worker claims it meanwhile.
            self._paused_until_s = time.monotonic() + _MIN_PAUSE_S
        if not task.cancelled() and (exc := task.exception()) is not None:
            # The lease expires, and the next attempt resumes from the last checkpoint.
            SmeltLog(logger, attempt.claim).error("attempt crashed, its lease will expire", exc_info=exc)
        if not attempt.found_worker_unusable:
            self._pause_s = _MIN_PAUSE_S
        elif not self._is_suspended:
            # Its next claim would end like this one.
            logger.error("this machine does not start processes for files, the next claim is in %.0f s", self._pause_s)
            self._paused_until_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        if attempt.has_audio:
            self._janitor.request_purge()
        self._deliveries.request()
        self._claim_loop.wake_at_end(always=self._once)
        self._heartbeat.request()

    def _on_suspended(self, *, is_suspended: bool) -> None:
        """Release the smelts that need the model when it is suspended; claim again when it is not."""
        self._is_suspended = is_suspended
        for attempt in self._running.values() if is_suspended else ():
            if attempt.needs_model:
                attempt.stop("unusable")
        self._claim_loop.wake()
        self._heartbeat.request()

    def _on_dispatch_suspended(self) -> None:
        """Claim nothing while the external service accepts nothing; smelts in progress still try."""
        assert self._services is not None
        self._is_suspended = self._services.engine.is_suspended
        self._claim_loop.wake()
        self._heartbeat.request()

    async def _drain(self, failed: "asyncio.Future[None]") -> None:
        if not self._running and (self._claiming is None or self._claiming.done()):
            return
        self._state = "draining"
        self._heartbeat.request()
        logger.info("draining %s smelts within %.0f s", len(self._running), self._options.drain_s)
        timeout_s = 0.0 if failed.done() else max(0.0, self._options.drain_s - SHUTDOWN_TIMEOUT_S)
        until_s = time.monotonic() + timeout_s
        # First: its response may start attempts.
        await self._wait_for_claim(max(_MIN_CLAIM_TIMEOUT_S, timeout_s))
        if self._running:
            await asyncio.wait(set(self._running), timeout=max(0.0, until_s - time.monotonic()))

    async def _wait_for_claim(self, timeout_s: float) -> None:
        """Wait for the claim in flight; one without a response is abandoned, and its leases expire without a risk."""
        if self._claiming is None:
            return
        done, _ = await asyncio.wait({self._claiming}, timeout=timeout_s)
        if not done:
            logger.warning("claiming smelts got no response: those claimed are due again when their leases expire")
        for claiming in done:
            claiming.result()

    async def _release_running(self) -> None:
        ending: set[asyncio.Task[Any]] = set(self._running)
        if self._claiming is not None:
            self._claiming.cancel()
            ending.add(self._claiming)
        for attempt in self._running.values():
            attempt.stop("draining")
        if ending:
            await asyncio.wait(ending, timeout=_RELEASE_TIMEOUT_S)

    async def _clean_up(self, services: WorkerServices) -> None:
        try:
            await services.announcer.sweep()
            await self._deliveries.send_due()
            await self._janitor.purge()
        except SmeltError as exc:
            logger.warning("final clean-up failed, the next worker repeats it: %s", exc)

    def _info(self) -> dict[str, Any]:
        return {
            "model": self._options.model if self._options.dispatch is None else "external service",
            "models": [] if self._services is None else list(self._services.engine.names),
            "concurrency": self._concurrency,
            "state": "suspended" if self._is_suspended and self._state == "working" else self._state,
            "smelts": [attempt.info for attempt in self._running.values()],
            "up_seconds": round(time.monotonic() - self._started_s),
        }


@asynccontextmanager
async def _in_background(*coroutines: Coroutine[Any, Any, None]) -> "AsyncIterator[asyncio.Future[None]]":
    """Run coroutines as tasks; the future is done once one of them failed, and the error is raised at the end."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not failed.done():
            failed.set_result(None)

    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for task in tasks:
        task.add_done_callback(on_done)
    try:
        yield failed
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
