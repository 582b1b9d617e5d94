"""One attempt: a claimed smelt until it is settled, cancelled, lost or released."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeVar

from smelt.backend.realtime import Broadcast, Channel, ChannelEvent
from smelt.contract.channels import smelt_channel
from smelt.contract.dispatch import DispatchedJob
from smelt.contract.events import Result
from smelt.contract.work import Claim, Settled, Verdict
from smelt.errors import SettingsError, SmeltError, TransientError
from smelt.processor.dispatcher import ReadyToDispatch
from smelt.processor.errors import ChildKilled, ChildUnusable, ModelMissing, NotAccepted
from smelt.processor.event_queue import EventQueue
from smelt.processor.logs import SmeltLog
from smelt.processor.outcome import failure_of
from smelt.processor.reporter import Reporter
from smelt.processor.services import WorkerServices
from smelt.processor.stages.pipeline import Pipeline

logger = logging.getLogger(__name__)

T = TypeVar("T")
StopReason = Literal["cancelled", "lost", "draining", "unusable", "mismatched"]
"""`unusable`: this worker can't process smelts, for a reason of its machine. `mismatched`: it lacks their model."""

_RELEASE_REASONS: Final = {
    "draining": "the worker drained",
    "unusable": "the processes of the worker did not work",
    "mismatched": "the worker does not have the requested model",
}
_FLUSH_TIMEOUT_S: Final = 5.0
_RETRY_INTERVAL_S: Final = 2.0


class SmeltAttempt:
    """Works on one claim; `run` returns when this worker is done with it."""

    def __init__(self, claim: Claim, services: WorkerServices) -> None:
        self.claim = claim
        self._services = services
        self._log = SmeltLog(logger, claim)
        self._stopping: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()
        self._pipeline: Pipeline | None = None
        self._settling = False

    @property
    def info(self) -> dict[str, Any]:
        """The smelt, the attempt and its progress, for the worker's row in the database."""
        known = {"id": str(self.claim.id), "attempt": self.claim.attempt}
        return known if self._pipeline is None else known | self._pipeline.info

    @property
    def needs_model(self) -> bool:
        """True if files of this smelt are not transcribed yet."""
        return self._pipeline is None or self._pipeline.needs_model

    @property
    def has_audio(self) -> bool:
        """True if the smelt has recordings, which its end may leave to be removed."""
        return any(file.input_type == "audio" for file in self.claim.files)

    @property
    def is_mismatched(self) -> bool:
        """True if the smelt was released because it requests another model."""
        return self._stopping.done() and self._stopping.result() == "mismatched"

    @property
    def found_worker_unusable(self) -> bool:
        """True if the machine prevented the work."""
        return self._stopping.done() and self._stopping.result() == "unusable"

    def stop(self, reason: StopReason) -> None:
        """Stop the work early; only the first reason counts."""
        if not self._stopping.done():
            self._log.info("stopping: %s", reason)
            self._stopping.set_result(reason)

    async def run(self) -> None:
        """Work until the smelt is settled, released, or lost to another worker."""
        self._log.info("claimed, run %s at %s %.0f %%", self.claim.run, self.claim.status, self.claim.percentage)
        if self.claim.suspect is not None:
            self._log.warning("its last worker stopped (%s): it is processed alone", self.claim.suspect)
        self._services.leases.add(self.claim, self._on_verdict)
        channel = await self._services.project.realtime.join(smelt_channel(str(self.claim.id)), self._on_event)
        try:
            await self._run_pipeline(channel)
        finally:
            self._services.leases.remove(self.claim)
            await channel.leave()

    async def _run_pipeline(self, channel: Channel) -> None:
        events = EventQueue(self._services.announcer, channel)
        reporter = self._reporter(events)
        async with _in_background(events.run_queue(), reporter.run_reports()) as background:
            with self._services.workspace.folder(str(self.claim.id)) as folder:
                self._pipeline = Pipeline(reporter, self._services, folder)
                work = asyncio.create_task(self._pipeline.run(), name=f"smelt {self.claim.id}")
                try:
                    await _first_of(work, self._stopping, *background)
                finally:
                    work.cancel()
                    await asyncio.wait({work})
            for task in background:
                if task.done():
                    task.result()
            await self._end(work, reporter, events, channel)

    async def _end(
        self, work: asyncio.Task[tuple[Result, ...]], reporter: Reporter, events: EventQueue, channel: Channel
    ) -> None:
        match None if work.cancelled() else work.exception():
            case SettingsError():
                # These settings stop the whole worker, which raises the error itself. Another worker may succeed.
                self.stop("draining")
            case ChildUnusable():
                self.stop("unusable")
            case ModelMissing():
                self.stop("mismatched")
        if self._stopping.done():
            await self._end_early(self._stopping.result(), reporter, channel)
            return
        if isinstance(ready := work.exception(), ReadyToDispatch):
            if await self._until_stopped(self._dispatch(ready.job, reporter, events)) is None:
                await self._end_early(self._stopping.result(), reporter, channel)
            return
        settled = await self._until_stopped(self._settle(work, reporter, events))
        if settled is None:
            await self._end_early(self._stopping.result(), reporter, channel)
            return
        self._services.metrics.settled(settled)
        self._log.info("%s: %s", settled.verdict, settled.error_code or settled.outcome or settled.status)
        await self._services.announcer.send_outbox(self.claim.id, channel, settled.outbox)

    async def _settle(self, work: asyncio.Task[tuple[Result, ...]], reporter: Reporter, events: EventQueue) -> Settled:
        succeeded = work.exception() is None
        # A completed smelt needs no report of its last progress; that of a failed one counts for its retry.
        await self._retry_forever(reporter.flush_transcript if succeeded else reporter.flush)
        # Broadcast all queued events before the terminal one.
        await events.flush(_FLUSH_TIMEOUT_S)
        self._settling = True
        exc = work.exception()
        if exc is None:
            results = work.result()
            return await self._retry_forever(
                lambda: self._services.calls.complete_smelt(self.claim.id, self.claim.attempt, results)
            )
        if isinstance(exc, ChildKilled):
            self._log.warning("releasing: %s", exc)
            reason = str(exc)
            return await self._retry_forever(
                lambda: self._services.calls.release_smelt(
                    self.claim.id, self.claim.attempt, counts=True, reason=reason
                )
            )
        failure = failure_of(exc)
        unexpected = exc if not isinstance(exc, SmeltError) else None
        self._log.info("failing with %s: %s", failure.code, exc, exc_info=unexpected)
        return await self._retry_forever(
            lambda: self._services.calls.fail_smelt(
                self.claim.id,
                self.claim.attempt,
                failure.code,
                transient=failure.transient,
                retry_after_s=failure.retry_after_s,
                reason=str(exc) or type(exc).__name__,
            )
        )

    async def _dispatch(
        self, job: DispatchedJob, reporter: Reporter, events: EventQueue
    ) -> Literal["dispatched", "released"] | None:
        """Hand the smelt over to the external service; without its acceptance, release it without a failure.

        Returns None if the attempt was stopped meanwhile.
        """
        dispatcher, calls, claim = self._services.dispatcher, self._services.calls, self.claim
        assert dispatcher is not None
        await self._retry_forever(reporter.flush)
        await events.flush(_FLUSH_TIMEOUT_S)
        # From then on the database fences the reports and renewals of this worker.
        self._settling = True
        verdict = await self._retry_forever(
            lambda: calls.dispatch_smelt(claim.id, claim.attempt, lease_s=dispatcher.lease_s)
        )
        if verdict != "go_on":
            self.stop(verdict)
            return None
        try:
            await dispatcher.post(job)
        except NotAccepted as exc:
            reason, retry_after_s = str(exc), exc.retry_after_s
            settled = await self._retry_forever(
                lambda: calls.release_smelt(claim.id, claim.attempt, reason=reason, retry_after_s=retry_after_s)
            )
            self._services.metrics.settled(settled)
            self._log.warning("released: %s", reason)
            return "released"
        self._services.metrics.dispatched()
        self._log.info("dispatched, the service calls back within %s s", dispatcher.lease_s)
        return "dispatched"

    async def _end_early(self, reason: StopReason, reporter: Reporter, channel: Channel) -> None:
        self._services.metrics.stopped(reason)
        match reason:
            case "lost":
                return
            case "cancelled":
                # Cancelling has settled the row; its terminal event may still be in the outbox.
                await self._services.announcer.send_outbox(self.claim.id, channel)
            case "draining" | "unusable" | "mismatched":
                with contextlib.suppress(TransientError):
                    await reporter.flush()
                settled = await self._services.calls.release_smelt(
                    self.claim.id, self.claim.attempt, reason=_RELEASE_REASONS[reason]
                )
                self._log.info("released, %s: %s", _RELEASE_REASONS[reason], settled.verdict)

    async def _retry_forever(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except TransientError as exc:
                self._log.info("settling failed, retrying: %s", exc)
                await asyncio.sleep(_RETRY_INTERVAL_S)

    async def _until_stopped(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        task = asyncio.create_task(coroutine)
        try:
            await _first_of(task, self._stopping)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _reporter(self, events: EventQueue) -> Reporter:
        return Reporter(
            self.claim,
            self._services.calls,
            events,
            lease_s=self._services.options.lease_s,
            on_verdict=self._on_verdict,
            on_renewed=lambda at_s: self._services.leases.confirm(self.claim, at_s),
            eta_s=lambda: None if self._pipeline is None else self._pipeline.eta_s(),
        )

    def _on_verdict(self, verdict: Verdict) -> None:
        # Once the smelt is settled, a renewal finds no lease: from then on only the result of settling counts.
        if verdict != "go_on" and not self._settling:
            self.stop(verdict)

    def _on_event(self, event: ChannelEvent) -> None:
        # The database broadcasts `failed` when a smelt is cancelled. The verdict of a renewal decides.
        if isinstance(event, Broadcast) and event.event == "failed":
            self._services.leases.request_renewal()


@asynccontextmanager
async def _in_background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[set[asyncio.Task[None]]]:
    tasks = {asyncio.create_task(coroutine) for coroutine in coroutines}
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
