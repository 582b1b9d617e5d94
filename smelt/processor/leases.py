"""The leases of all smelts of a worker, renewed in one call by a task of their own, which no stage can delay.

A report of a smelt renews its lease as well: in a smelt that reports often, no other renewal is needed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from smelt.backend.waiting import wait_for_event
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import Claim, LeaseRenewal, Verdict
from smelt.errors import TransientError, Unavailable
from smelt.processor.polling import Contact

logger = logging.getLogger(__name__)

# A cancellation is noticed with the next renewal at the latest, which bounds how long the model runs in vain.
_RENEW_INTERVAL_S: Final = 2.0
# A request on a half-open connection blocks until its timeout. Time renewals out early so that several attempts, each
# on a new connection, fit into one lease.
_RENEWAL_ATTEMPTS_PER_LEASE: Final = 6
_MIN_RENEWAL_TIMEOUT_S: Final = 2.0

OnVerdict = Callable[[Verdict], None]


@dataclass
class _Entry:
    attempt: int
    on_verdict: OnVerdict
    renewed_s: float


class Leases:
    """Renews the leases of this worker and passes on the verdicts `cancelled` and `lost`."""

    def __init__(self, calls: WorkerRpc, worker_id: str, lease_s: int, contact: Contact) -> None:
        self._calls = calls
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._contact = contact
        self._interval_s = min(_RENEW_INTERVAL_S, lease_s / 3)
        self._entries: dict[UUID, _Entry] = {}
        self._failed_s = 0.0
        self._renewal_requested = asyncio.Event()

    def add(self, claim: Claim, on_verdict: OnVerdict) -> None:
        """Renew the lease of a claim from now on."""
        self._entries[claim.id] = _Entry(claim.attempt, on_verdict, time.monotonic())

    def remove(self, claim: Claim) -> None:
        """Stop renewing the lease of a claim."""
        if self._entry(claim.id, claim.attempt) is not None:
            del self._entries[claim.id]

    def confirm(self, claim: Claim, at_s: float) -> None:
        """Note that a report at `at_s` (monotonic time) renewed the lease of a claim."""
        if (entry := self._entry(claim.id, claim.attempt)) is not None:
            entry.renewed_s = max(entry.renewed_s, at_s)

    def request_renewal(self) -> None:
        """Renew at once: a smelt may have ended."""
        self._renewal_requested.set()

    async def run_renewals(self) -> None:
        """Renew until cancelled; an outage does not stop the work, the next response decides."""
        while True:
            is_requested = await self._wait()
            try:
                await (self.renew() if is_requested else self.renew_due())
            except TransientError as exc:
                logger.warning("renewing leases failed: %s", exc)

    async def renew_due(self) -> None:
        """Renew the leases that are due, if any, and those that are due soon; raises like `renew`."""
        now_s = time.monotonic()
        ages_s = {smelt_id: now_s - entry.renewed_s for smelt_id, entry in self._entries.items()}
        if any(age_s >= self._interval_s for age_s in ages_s.values()):
            await self._renew([smelt_id for smelt_id, age_s in ages_s.items() if age_s >= self._interval_s / 2])

    async def renew(self) -> None:
        """Renew all leases and pass the verdicts on; raise `TransientError` without a response in time."""
        if self._entries:
            await self._renew(list(self._entries))

    async def _renew(self, smelt_ids: Sequence[UUID]) -> None:
        began_s = time.monotonic()
        try:
            renewals = await self._request_renewals([(one, self._entries[one].attempt) for one in smelt_ids])
        except TransientError:
            self._contact.lost()
            self._failed_s = time.monotonic()
            raise
        self._contact.responded(time.monotonic())
        for smelt_id in smelt_ids:
            if (entry := self._entries.get(smelt_id)) is not None:
                entry.renewed_s = max(entry.renewed_s, began_s)
        for renewal in renewals:
            entry = self._entry(renewal.smelt_id, renewal.attempt)
            if entry is not None and renewal.verdict != "go_on":
                entry.on_verdict(renewal.verdict)

    def _entry(self, smelt_id: UUID, attempt: int) -> _Entry | None:
        entry = self._entries.get(smelt_id)
        return entry if entry is not None and entry.attempt == attempt else None

    async def _request_renewals(self, entries: Sequence[tuple[UUID, int]]) -> tuple[LeaseRenewal, ...]:
        timeout_s = max(_MIN_RENEWAL_TIMEOUT_S, self._lease_s / _RENEWAL_ATTEMPTS_PER_LEASE)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._calls.renew_leases(self._worker_id, entries, lease_s=self._lease_s)
        except TimeoutError as exc:
            raise Unavailable(f"no response within {timeout_s:.0f} s") from exc

    async def _wait(self) -> bool:
        """Wait until a renewal is due or requested; return True if it is requested."""
        now_s = time.monotonic()
        renewed_s = min((entry.renewed_s for entry in self._entries.values()), default=now_s)
        due_s = max(renewed_s, self._failed_s) + self._interval_s
        is_requested = await wait_for_event(self._renewal_requested, due_s - now_s)
        self._renewal_requested.clear()
        return is_requested
