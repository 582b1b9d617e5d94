"""One claimed smelt from its claim to its end: done, failed, cancelled, lost or given back."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeVar

from smelt.backend.realtime import Channel
from smelt.contract.channels import smelt_channel
from smelt.contract.events import Result
from smelt.contract.work import Claim, Settled, Verdict
from smelt.errors import SettingsError, SmeltError, TransientError
from smelt.processor.event_queue import EventQueue
from smelt.processor.logs import SmeltLog
from smelt.processor.outcome import failure_of
from smelt.processor.reporter import Reporter
from smelt.processor.services import WorkerServices
from smelt.processor.stages import Stages
from smelt.processor.state import SmeltState

logger = logging.getLogger(__name__)

T = TypeVar("T")
StopReason = Literal["cancelled", "lost", "draining"]

_JOIN_WAIT_S: Final = 2.0
_FLUSH_TIMEOUT_S: Final = 5.0
_RETRY_INTERVAL_S: Final = 2.0


class SmeltAttempt:
    """Works on one claim; `run` returns when nothing of it is left to do here."""

    def __init__(self, claim: Claim, tools: WorkerServices) -> None:
        self.claim = claim
        self._tools = tools
        self._log = SmeltLog(logger, claim)
        self._stopping: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()
        self._state: SmeltState | None = None
        self._stages: Stages | None = None
        self._settling = False

    @property
    def about(self) -> dict[str, Any]:
        """What an operator may know of it: the smelt, the attempt, and how far this attempt is."""
        known = {"id": str(self.claim.id), "attempt": self.claim.attempt}
        return known if self._stages is None else known | self._stages.about

    def stop(self, reason: StopReason) -> None:
        """End the work before it is done; the first reason counts."""
        if not self._stopping.done():
            self._log.info("stopping: %s", reason)
            self._stopping.set_result(reason)

    async def run(self) -> None:
        """Work until the smelt is settled, given back, or somebody else's."""
        self._log.info("claimed, run %s at %s %.0f %%", self.claim.run, self.claim.status, self.claim.percentage)
        self._tools.leases.hold(self.claim, self._on_verdict, self._waits)
        channel = await self._tools.project.realtime.join(smelt_channel(str(self.claim.id)), on_message=self._hear)
        try:
            await channel.wait_joined(_JOIN_WAIT_S)
            await self._work_on(channel)
        finally:
            self._tools.leases.drop(self.claim)
            await channel.leave()

    async def _work_on(self, channel: Channel) -> None:
        voice = EventQueue(self._tools.announcer, channel)
        reporter = self._reporter(voice)
        async with _in_background(voice.run_queue(), reporter.run_reports()) as background:
            with self._tools.workspace.folder(str(self.claim.id)) as folder:
                self._state = reporter.state
                self._stages = Stages(reporter.state, self._tools, folder)
                work = asyncio.create_task(self._stages.run(), name=f"smelt {self.claim.id}")
                try:
                    await _first_of(work, self._stopping, *background)
                finally:
                    work.cancel()
                    await asyncio.wait({work})
            for task in background:
                if task.done():
                    task.result()
            await self._end(work, reporter, voice, channel)

    async def _end(
        self, work: asyncio.Task[tuple[Result, ...]], reporter: Reporter, voice: EventQueue, channel: Channel
    ) -> None:
        if not work.cancelled() and isinstance(work.exception(), SettingsError):
            # The worker can't do this at all, and is about to say so itself; another one may.
            self.stop("draining")
        if self._stopping.done():
            await self._end_early(self._stopping.result(), reporter, channel)
            return
        settled = await self._until_stopped(self._settle(work, reporter, voice))
        if settled is None:
            await self._end_early(self._stopping.result(), reporter, channel)
            return
        self._tools.metrics.settled(settled)
        self._log.info("%s: %s", settled.verdict, settled.error_code or settled.outcome or settled.status)
        if settled.verdict == "settled":
            await self._tools.announcer.announce(self.claim.id, channel)

    async def _settle(self, work: asyncio.Task[tuple[Result, ...]], reporter: Reporter, voice: EventQueue) -> Settled:
        await self._retry_forever(reporter.flush)
        # The end comes after everything that was said before it.
        await voice.finish(_FLUSH_TIMEOUT_S)
        self._settling = True
        exc = work.exception()
        if exc is None:
            results = work.result()
            return await self._retry_forever(
                lambda: self._tools.calls.complete_smelt(self.claim.id, self.claim.attempt, results)
            )
        failure = failure_of(exc)
        unforeseen = exc if not isinstance(exc, SmeltError) else None
        self._log.info("failing with %s: %s", failure.code, exc, exc_info=unforeseen)
        return await self._retry_forever(
            lambda: self._tools.calls.fail_smelt(
                self.claim.id,
                self.claim.attempt,
                failure.code,
                transient=failure.transient,
                retry_after_s=failure.retry_after_s,
            )
        )

    async def _end_early(self, reason: StopReason, reporter: Reporter, channel: Channel) -> None:
        self._tools.metrics.stopped(reason)
        match reason:
            case "lost":
                return
            case "cancelled":
                # Whoever cancelled has settled the row; its last event may still be owed.
                await self._tools.announcer.announce(self.claim.id, channel)
            case "draining":
                with contextlib.suppress(TransientError):
                    await reporter.flush()
                settled = await self._tools.calls.release_smelt(self.claim.id, self.claim.attempt)
                self._log.info("drained: %s", settled.verdict)

    async def _retry_forever(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except TransientError as exc:
                self._log.info("settling is tried again: %s", exc)
                await asyncio.sleep(_RETRY_INTERVAL_S)

    async def _until_stopped(self, doing: Coroutine[Any, Any, T]) -> T | None:
        task = asyncio.create_task(doing)
        try:
            await _first_of(task, self._stopping)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _reporter(self, voice: EventQueue) -> Reporter:
        return Reporter(
            self.claim,
            self._tools.calls,
            voice,
            lease_s=self._tools.options.lease_s,
            on_verdict=self._on_verdict,
            eta_s=lambda: None if self._stages is None else self._stages.eta_s(),
        )

    def _waits(self) -> bool:
        # Until its turn at the model comes, when all of it is decoded.
        state = self._state
        return state is not None and state.stage == "decoding" and all(file.share >= 1 for file in state.live_files)

    def _on_verdict(self, verdict: Verdict) -> None:
        # A renewal finds no lease any more once the smelt is settled: from then on the answer to that counts.
        if verdict != "go_on" and not self._settling:
            self.stop(verdict)

    def _hear(self, event: str, _payload: object) -> None:
        # The database says so itself when somebody cancels; the answer to a renewal is what counts.
        if event == "failed":
            self._tools.leases.renew_now()


@asynccontextmanager
async def _in_background(*doing: Coroutine[Any, Any, None]) -> AsyncIterator[set[asyncio.Task[None]]]:
    tasks = {asyncio.create_task(coroutine) for coroutine in doing}
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
