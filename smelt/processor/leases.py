"""Leases of all smelts of a worker, renewed in one call by a timer that no stage can hold up."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import UUID

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import Claim, LeaseRenewal, Verdict
from smelt.errors import TransientError, Unavailable

logger = logging.getLogger(__name__)

# A cancelled smelt is noticed with the next renewal, so that this bounds how long its model goes on.
_RENEW_INTERVAL_S: Final = 2.0
# A connection that nobody is at the other end of any more would take a request for its whole time, and the lease with
# it: several renewals fit into a lease, each over another connection.
_RENEWAL_ATTEMPTS_PER_LEASE: Final = 6
_MIN_RENEWAL_TIMEOUT_S: Final = 2.0

OnVerdict = Callable[[Verdict], None]
Waits = Callable[[], bool]


class Leases:
    """Keeps what this worker owns, and tells each owner when its smelt was cancelled or lost."""

    def __init__(self, calls: WorkerRpc, worker_id: str, lease_s: int) -> None:
        self._calls = calls
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._held: dict[UUID, tuple[int, OnVerdict, Waits]] = {}
        self._now = asyncio.Event()

    def hold(self, claim: Claim, on_verdict: OnVerdict, waits: Waits = lambda: False) -> None:
        """Renew the lease of this claim from now on; while it `waits`, the death of this worker counts no failure."""
        self._held[claim.id] = (claim.attempt, on_verdict, waits)

    def drop(self, claim: Claim) -> None:
        """Renew it no longer."""
        if self._held.get(claim.id, (None,))[0] == claim.attempt:
            del self._held[claim.id]

    def renew_now(self) -> None:
        """Ask at once: something was heard that may have ended a smelt."""
        self._now.set()

    async def run_renewals(self) -> None:
        """Renew until cancelled; while the database does not answer, the work goes on and the answer decides later."""
        while True:
            await self._wait()
            try:
                await self.renew()
            except TransientError as exc:
                logger.warning("renewing leases: %s", exc)

    async def renew(self) -> None:
        """Renew everything that is held, and pass the verdicts on; raise `TransientError` when that is not answered soon."""
        if not self._held:
            return
        for answer in await self._answers():
            attempt, on_verdict, _ = self._held.get(answer.smelt_id, (None, None, None))
            if on_verdict is not None and attempt == answer.attempt and answer.verdict != "go_on":
                on_verdict(answer.verdict)

    async def _answers(self) -> tuple[LeaseRenewal, ...]:
        asked = [(smelt_id, attempt, waits()) for smelt_id, (attempt, _, waits) in self._held.items()]
        within_s = max(_MIN_RENEWAL_TIMEOUT_S, self._lease_s / _RENEWAL_ATTEMPTS_PER_LEASE)
        try:
            async with asyncio.timeout(within_s):
                return await self._calls.renew_leases(self._worker_id, asked, lease_s=self._lease_s)
        except TimeoutError as exc:
            raise Unavailable(f"no answer in {within_s:.0f} s") from exc

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(min(_RENEW_INTERVAL_S, self._lease_s / 3)):
                await self._now.wait()
        except TimeoutError:
            pass
        self._now.clear()
