"""The leases of all smelts of a worker, renewed in one call by a task of their own, which no stage can delay."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

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


class Leases:
    """Renews the leases of this worker and passes on the verdicts `cancelled` and `lost`."""

    def __init__(self, calls: WorkerRpc, worker_id: str, lease_s: int, contact: Contact) -> None:
        self._calls = calls
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._contact = contact
        self._entries: dict[UUID, tuple[int, OnVerdict]] = {}
        self._renewal_requested = asyncio.Event()

    def add(self, claim: Claim, on_verdict: OnVerdict) -> None:
        """Renew the lease of a claim from now on."""
        self._entries[claim.id] = (claim.attempt, on_verdict)

    def remove(self, claim: Claim) -> None:
        """Stop renewing the lease of a claim."""
        if self._entries.get(claim.id, (None,))[0] == claim.attempt:
            del self._entries[claim.id]

    def request_renewal(self) -> None:
        """Renew at once: a smelt may have ended."""
        self._renewal_requested.set()

    async def run_renewals(self) -> None:
        """Renew until cancelled; an outage does not stop the work, the next response decides."""
        while True:
            await self._wait()
            try:
                await self.renew()
            except TransientError as exc:
                logger.warning("renewing leases failed: %s", exc)

    async def renew(self) -> None:
        """Renew all leases and pass the verdicts on; raise `TransientError` without a response in time."""
        if not self._entries:
            return
        try:
            renewals = await self._request_renewals()
        except TransientError:
            self._contact.lost()
            raise
        self._contact.responded(time.monotonic())
        for renewal in renewals:
            attempt, on_verdict = self._entries.get(renewal.smelt_id, (None, None))
            if on_verdict is not None and attempt == renewal.attempt and renewal.verdict != "go_on":
                on_verdict(renewal.verdict)

    async def _request_renewals(self) -> tuple[LeaseRenewal, ...]:
        entries = [(smelt_id, attempt) for smelt_id, (attempt, _) in self._entries.items()]
        timeout_s = max(_MIN_RENEWAL_TIMEOUT_S, self._lease_s / _RENEWAL_ATTEMPTS_PER_LEASE)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._calls.renew_leases(self._worker_id, entries, lease_s=self._lease_s)
        except TimeoutError as exc:
            raise Unavailable(f"no response within {timeout_s:.0f} s") from exc

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(min(_RENEW_INTERVAL_S, self._lease_s / 3)):
                await self._renewal_requested.wait()
        except TimeoutError:
            pass
        self._renewal_requested.clear()
