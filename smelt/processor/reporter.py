"""Reports: save the state of a smelt in the database, then broadcast it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal
from uuid import UUID

from smelt.backend.waiting import wait_for_event
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.events import Output
from smelt.contract.report_events import report_events
from smelt.contract.vocabulary import Status
from smelt.contract.work import Claim, Report, Risk, SavedSegment, Verdict
from smelt.errors import TransientError
from smelt.processor.errors import ChildKilled
from smelt.processor.event_queue import EventQueue
from smelt.processor.logs import SmeltLog
from smelt.processor.state import Draft, SmeltState
from smelt.processor.throttle import ETA_CHECK_INTERVAL_S, eta_changed, report_interval_s, wait_before_report_s

logger = logging.getLogger(__name__)

_RETRY_DELAY_S: Final = 1.0


class Reporter:
    """Reports one smelt: a change of stage and the first text at once, other changes at most once per interval.

    The interval grows with the recording. A noticeably different ETA counts as a change. `on_renewed` is called with
    the time of each report that renewed the lease.
    """

    def __init__(
        self,
        claim: Claim,
        calls: WorkerRpc,
        events: EventQueue,
        *,
        lease_s: int,
        on_verdict: Callable[[Verdict], None],
        on_renewed: Callable[[float], None],
        eta_s: Callable[[], float | None],
    ) -> None:
        self.state = SmeltState(claim, self._on_change)
        self._claim = claim
        self._log = SmeltLog(logger, claim)
        self._calls = calls
        self._events = events
        self._lease_s = lease_s
        self._on_verdict = on_verdict
        self._on_renewed = on_renewed
        self._eta_s = eta_s
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last_report_s: float | None = None
        self._last_stage: Status | None = None
        # `unknown` until a report has a response.
        self._saved_risk: Risk | Literal["unknown"] | None = "unknown"
        self._last_eta_s: float | None = None
        self._reporting = asyncio.Lock()
        self._holds_lease = True

    async def run_reports(self) -> None:
        """Report changes until cancelled."""
        while True:
            await self._wait_for_change()
            wait_s = wait_before_report_s(
                now_s=time.monotonic(),
                last_report_s=self._last_report_s,
                interval_s=report_interval_s(self.state.audio_s),
                urgent=self._urgent.is_set(),
            )
            await wait_for_event(self._urgent, wait_s)
            try:
                await self._flush_changes()
            except TransientError as exc:
                # Nothing is lost: the next report includes what was not confirmed.
                self._log.warning("reporting failed: %s", exc)
                self._changed.set()
                await asyncio.sleep(_RETRY_DELAY_S)

    async def _wait_for_change(self) -> None:
        while not await wait_for_event(self._changed, ETA_CHECK_INTERVAL_S):
            if self._has_new_eta():
                return

    def _has_new_eta(self) -> bool:
        since_report_s = time.monotonic() - (self._last_report_s or 0.0)
        return eta_changed(last_eta_s=self._last_eta_s, since_report_s=since_report_s, eta_s=self._eta_s())

    async def flush(self) -> None:
        """Report all unreported changes now, and broadcast the visible ones after the commit."""
        async with self._reporting:
            await self._report()

    async def flush_transcript(self) -> None:
        """Report now if a part of a transcript is unreported, or a file that failed."""
        if self.state.draft().has_transcript:
            await self.flush()

    async def _flush_changes(self) -> None:
        async with self._reporting:
            # An acknowledged report may have contained them meanwhile.
            if self._changed.is_set() or self._has_new_eta():
                await self._report()

    async def _report(self) -> None:
        self._changed.clear()
        self._urgent.clear()
        began_s = self._last_report_s = time.monotonic()
        draft, self._last_eta_s = self.state.draft(), self._eta_s()
        self._saved_risk = "unknown"
        report = await self._send(draft)
        self._saved_risk = draft.risk
        self.state.confirm(draft)
        self._last_stage = draft.status
        if self._is_held(report, began_s):
            await self._broadcast(report, draft.outputs, draft.segments)

    async def acknowledge(self) -> None:
        """Report until the database has saved stage, risk and results; if the lease is lost, wait to be cancelled.

        Progress alone is left to the next report, which is limited to one per interval.
        """
        while True:
            try:
                if self._has_results(draft := self.state.draft()):
                    await self.flush()
                elif self._saved_risk != draft.risk:
                    await self._send_risk(draft)
            except TransientError as exc:
                self._log.warning("reporting failed, the work waits for it: %s", exc)
                await asyncio.sleep(_RETRY_DELAY_S)
            else:
                break
        if not self._holds_lease:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def at_risk(self, risk: Risk) -> AsyncIterator[None]:
        """Work on a file that may stop this worker; the database has saved the risk, and all results, by then.

        The next report contains the end of the risk; `acknowledge` waits until it is saved.
        """
        self.state.risk = risk
        is_killed = False
        try:
            await self.acknowledge()
            yield
        except ChildKilled:
            # The attempt is released with this risk, which is what its owner gets to know.
            is_killed = True
            raise
        finally:
            if not is_killed:
                self.state.risk = None
                self._on_change(False)

    def _has_results(self, draft: Draft) -> bool:
        return draft.status != self._last_stage or draft.has_results

    async def _broadcast(
        self, report: Report, outputs: Sequence[Output], segments: Sequence[tuple[UUID, SavedSegment]] = ()
    ) -> None:
        if report.event is not None:
            for event, payload in report_events(segments, report.event, outputs):
                await self._events.put(event, payload)

    def _is_held(self, report: Report, began_s: float) -> bool:
        if report.verdict == "go_on":
            self._on_renewed(began_s)
        else:
            self._holds_lease = False
            self._on_verdict(report.verdict)
        return self._holds_lease

    async def _send_risk(self, draft: Draft) -> None:
        async with self._reporting:
            if self._saved_risk == draft.risk:  # By a report that ended meanwhile.
                return
            began_s, self._saved_risk = time.monotonic(), "unknown"
            report = await self._calls.report_progress(
                self._claim.id,
                self._claim.attempt,
                status=draft.status,
                message=draft.message,
                risk=draft.risk,
                lease_s=self._lease_s,
            )
            self._saved_risk = draft.risk
            if self._is_held(report, began_s):
                await self._broadcast(report, draft.outputs)

    async def _send(self, draft: Draft) -> Report:
        return await self._calls.report_progress(
            self._claim.id,
            self._claim.attempt,
            status=draft.status,
            percentage=draft.percentage,
            message=draft.message,
            eta_seconds=self._last_eta_s,
            files=[file for file in draft.files if len(file) > 1],
            segments=draft.segment_rows(),
            outputs=draft.changed_outputs,
            risk=draft.risk,
            lease_s=self._lease_s,
        )

    def _on_change(self, urgent: bool) -> None:
        self._changed.set()
        if urgent:
            self._urgent.set()
