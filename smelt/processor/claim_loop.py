"""The claim loop: claims smelts while there is room, and sleeps until work may be available."""

import asyncio
import random
import time
from typing import Final
from uuid import UUID, uuid4

from smelt.backend.project import Project
from smelt.backend.realtime import Channel
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import WORKERS_CHANNEL
from smelt.contract.work import Claim
from smelt.errors import TransientError
from smelt.processor.options import WorkerOptions
from smelt.processor.polling import CAUTION_S, Contact, poll_wait_s

_RETRY_DELAY_S: Final = 2.0
_POSTPONE_S: Final = 10.0
_BUSY_DELAY_S: Final = 0.3


class ClaimLoop:
    """Claims for one worker; woken by the channel of the workers, by polling, or by `wake`."""

    def __init__(self, project: Project, options: WorkerOptions, contact: Contact) -> None:
        self._project = project
        self._calls = WorkerRpc(project.rpc)
        self._options = options
        self._contact = contact
        self._pending_token: UUID | None = None
        self._woken = asyncio.Event()
        self._wake_up_received = False
        self._last_wake_up_s: float | None = None
        self._channel: Channel | None = None
        self._next_due_in_s: float | None = None

    async def join(self) -> None:
        """Join the channel of the workers, to receive wake-ups."""
        self._channel = await self._project.realtime.join(
            WORKERS_CHANNEL, on_message=lambda _event, _payload: self._on_wake_up(), on_joined=self.wake
        )

    def wake(self) -> None:
        """End the sleep: there may be work, or room for it."""
        self._woken.set()

    def postpone(self) -> None:
        """Set the next claim to 10 s from now, until the response of a claim sets it."""
        self._next_due_in_s = _POSTPONE_S

    async def claim(self, max_count: int) -> tuple[Claim, ...]:
        """Claim up to `max_count` smelts; raise `Unavailable` if the database does not respond.

        A claim without a response is repeated with its token: the database may have carried it out.
        """
        self._next_due_in_s = _RETRY_DELAY_S
        self._pending_token = self._pending_token or uuid4()
        try:
            claims = await self._calls.claim_smelts(
                self._options.worker_id,
                claim_token=self._pending_token,
                max_count=max_count,
                lease_s=self._options.lease_s,
                expired_leases=self._contact.is_steady(time.monotonic()),
                host=self._options.host,
            )
        except TransientError:
            self._contact.lost()
            raise
        self._contact.responded(time.monotonic())
        self._pending_token = None
        self._next_due_in_s = claims.next_due_in_s
        return claims.smelts

    @property
    def expects_expired_leases(self) -> bool:
        """True if there may be expired leases, which this worker does not claim yet."""
        return (
            not self._contact.is_steady(time.monotonic())
            and self._next_due_in_s is not None
            and self._next_due_in_s <= CAUTION_S
        )

    async def sleep(self, *, has_room: bool, is_busy: bool = False) -> None:
        """Sleep until work may be available, or, without room, until a smelt ends.

        A busy worker waits 0.3 s after a wake-up so that idle workers claim first.
        """
        try:
            async with asyncio.timeout(self._wait_s() if has_room else None):
                await self._woken.wait()
        except TimeoutError:
            pass
        received, self._wake_up_received = self._wake_up_received, False
        self._woken.clear()
        if received and is_busy:
            await asyncio.sleep(_BUSY_DELAY_S)

    def _wait_s(self) -> float:
        return poll_wait_s(
            joined=self._channel is not None and self._channel.joined,
            since_wake_s=None if self._last_wake_up_s is None else time.monotonic() - self._last_wake_up_s,
            next_due_in_s=self._next_due_in_s,
            jitter=random.random(),
        )

    def _on_wake_up(self) -> None:
        self._last_wake_up_s = time.monotonic()
        self._wake_up_received = True
        self._woken.set()
