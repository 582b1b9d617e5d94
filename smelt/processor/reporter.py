"""Reports: from the state of a smelt into the database, and from there to its watchers."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import Claim, Report, Verdict
from smelt.errors import TransientError
from smelt.processor.event_queue import EventQueue
from smelt.processor.logs import SmeltLog
from smelt.processor.segment_events import segment_events
from smelt.processor.state import Draft, SmeltState
from smelt.processor.throttle import ETA_CHECK_INTERVAL_S, has_moved, wait_before_report_s

logger = logging.getLogger(__name__)

_RETRY_AFTER_S: Final = 1.0


class Reporter:
    """Reports one smelt: a change of stage at once, others at most every second, and nothing without a change.

    An estimate that is another one than a few seconds ago is a change, too.
    """

    def __init__(
        self,
        claim: Claim,
        calls: WorkerRpc,
        voice: EventQueue,
        *,
        lease_s: int,
        on_verdict: Callable[[Verdict], None],
        eta_s: Callable[[], float | None],
    ) -> None:
        self.state = SmeltState(claim, self._note)
        self._claim = claim
        self._log = SmeltLog(logger, claim)
        self._calls = calls
        self._voice = voice
        self._lease_s = lease_s
        self._on_verdict = on_verdict
        self._eta_s = eta_s
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last_report_s: float | None = None
        self._told_s: float | None = None
        self._reporting = asyncio.Lock()

    async def run_reports(self) -> None:
        """Report changes as they come, until cancelled."""
        while True:
            await self._wait_for_change()
            wait_s = wait_before_report_s(
                now_s=time.monotonic(), last_report_s=self._last_report_s, urgent=self._urgent.is_set()
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._urgent.wait()
            try:
                await self.flush()
            except TransientError as exc:
                # Nothing is lost: what was not confirmed is part of the next report.
                self._log.warning("reporting: %s", exc)
                self._changed.set()
                await asyncio.sleep(_RETRY_AFTER_S)

    async def _wait_for_change(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ETA_CHECK_INTERVAL_S):
                    await self._changed.wait()
                    return
            since_told_s = time.monotonic() - (self._last_report_s or 0.0)
            if has_moved(told_s=self._told_s, since_told_s=since_told_s, eta_s=self._eta_s()):
                return

    async def flush(self) -> None:
        """Report now, whatever is new; what a watcher can see of it is broadcast after the commit."""
        async with self._reporting:
            self._changed.clear()
            self._urgent.clear()
            self._last_report_s = time.monotonic()
            draft, self._told_s = self.state.draft(), self._eta_s()
            report = await self._send(draft)
            self.state.confirm(draft)
            if report.verdict != "go_on":
                self._on_verdict(report.verdict)
                return
            await self._broadcast(report, draft)

    async def _send(self, draft: Draft) -> Report:
        return await self._calls.report_progress(
            self._claim.id,
            self._claim.attempt,
            status=draft.status,
            percentage=draft.percentage,
            message=draft.message,
            eta_seconds=self._told_s,
            files=[file for file in draft.files if len(file) > 1],
            segments=draft.segment_rows(),
            lease_s=self._lease_s,
        )

    async def _broadcast(self, report: Report, draft: Draft) -> None:
        if report.event is None:
            return
        for payload in segment_events(draft.segments, report.event):
            await self._voice.say("segments", payload)
        await self._voice.say("progress", report.event.model_dump(mode="json"))

    def _note(self, urgent: bool) -> None:
        self._changed.set()
        if urgent:
            self._urgent.set()
