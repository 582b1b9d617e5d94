"""The claim loop: claims smelts while there is room, and sleeps until work may be available."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from pydantic import ValidationError

from smelt.backend.project import Project
from smelt.backend.realtime import Broadcast, Channel, ChannelEvent, Joined
from smelt.backend.waiting import wait_for_event
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import WORKERS_CHANNEL
from smelt.contract.events import Model
from smelt.contract.work import Claim, ClaimBatch
from smelt.errors import TransientError
from smelt.processor.options import WorkerOptions
from smelt.processor.polling import CAUTION_S, Contact, poll_wait_s

_RETRY_DELAY_S: Final = 2.0
_POSTPONE_S: Final = 10.0
_BUSY_DELAY_S: Final = 0.3
_MAX_SPREAD_S: Final = 0.1
_RECHECK_PAUSES_S: Final = (0.01, 0.02, 0.04, 0.08)

logger = logging.getLogger(__name__)


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
        self._sent_at: datetime | None = None
        self._recheck_count = 0
        self._is_recheck_due = False
        self._follow_up_s: float | None = None
        self._worker_count = 1
        self._left_room = False

    async def join(self) -> None:
        """Join the channel of the workers, to receive wake-ups."""
        self._channel = await self._project.realtime.join(WORKERS_CHANNEL, self._on_event)

    def wake(self) -> None:
        """End the sleep: there may be work, or room for it."""
        self._woken.set()

    def wake_at_end(self, *, always: bool) -> None:
        """End the sleep after a smelt has ended; unless `always`, not if the last claim left room: nothing is due."""
        if always or not self._left_room:
            self.wake()

    def postpone(self) -> None:
        """Set the next claim to 10 s from now, until the response of a claim sets it."""
        self._next_due_in_s = _POSTPONE_S

    async def claim(self, max_count: int, *, models: Sequence[str] = ()) -> tuple[Claim, ...]:
        """Claim up to `max_count` smelts; raise `Unavailable` if the database does not respond.

        `models` are the names of the models that this worker has. A claim without a response is repeated with its
        token: the database may have carried it out.
        """
        self._next_due_in_s, self._is_recheck_due, self._left_room = _RETRY_DELAY_S, False, False
        self._pending_token = self._pending_token or uuid4()
        is_follow_up = self._is_follow_up_due
        try:
            claims = await self._calls.claim_smelts(
                self._options.worker_id,
                claim_token=self._pending_token,
                max_count=max_count,
                lease_s=self._options.lease_s,
                expired_leases=self._contact.is_steady(time.monotonic()),
                host=self._options.host,
                models=models,
            )
        except TransientError:
            self._contact.lost()
            raise
        self._contact.responded(time.monotonic())
        self._pending_token = None
        self._note_response(claims, max_count)
        if is_follow_up and claims.waits_for_end:
            await self.wake_others()
        elif is_follow_up and len(claims.smelts) < max_count:
            self._follow_up_s = None
        self._note_follow_up(claims)
        return claims.smelts

    def _note_response(self, claims: ClaimBatch, max_count: int) -> None:
        self._next_due_in_s, self._worker_count = claims.next_due_in_s, claims.worker_count
        self._left_room = len(claims.smelts) < max_count and not claims.waits_for_end
        # A wake-up may arrive before its smelt is visible. A smelt that is due now may be locked for a moment.
        is_behind = self._sent_at is not None and claims.woken_at is not None and claims.woken_at < self._sent_at
        is_due = not claims.smelts and claims.next_due_in_s is not None and claims.next_due_in_s <= 0
        if not (is_behind or is_due):
            self._recheck_count = 0
        elif self._recheck_count < len(_RECHECK_PAUSES_S):
            self._is_recheck_due = True
            self._recheck_count += 1

    def _note_follow_up(self, claims: ClaimBatch) -> None:
        if claims.follow_up_in_s is not None:
            self._follow_up_s = time.monotonic() + claims.follow_up_in_s

    async def wake_others(self) -> None:
        """Wake other workers if it is this worker's turn to look for smelts without a wake-up, but it can't claim."""
        if not self._is_follow_up_due:
            return
        try:
            claims = await self._calls.claim_smelts(self._options.worker_id, max_count=0, host=self._options.host)
        except TransientError as exc:
            logger.warning("waking other workers failed: %s", exc)
            self.retry_follow_up()
        else:
            self._follow_up_s = None
            self._note_follow_up(claims)

    def retry_follow_up(self) -> None:
        """Look again for smelts without a wake-up in 2 s, if the last attempt failed."""
        if self._is_follow_up_due:
            self._follow_up_s = time.monotonic() + _RETRY_DELAY_S

    @property
    def is_recheck(self) -> bool:
        """True if the next claim repeats the last one at once, since its smelt may not have been visible."""
        return self._is_recheck_due

    @property
    def _is_follow_up_due(self) -> bool:
        return self._follow_up_s is not None and time.monotonic() >= self._follow_up_s

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

        Of several workers, a busy one waits 0.3 s after a wake-up so that idle workers claim first, and idle ones claim
        at random moments within 0.1 s.
        """
        await wait_for_event(self._woken, self._wait_s(has_room=has_room))
        received, self._wake_up_received = self._wake_up_received, False
        self._woken.clear()
        if received and self._worker_count > 1:
            await asyncio.sleep(_BUSY_DELAY_S if is_busy else random.random() * _MAX_SPREAD_S)

    def _wait_s(self, *, has_room: bool) -> float | None:
        waits_s = [] if self._follow_up_s is None else [max(0.0, self._follow_up_s - time.monotonic())]
        if has_room and self._is_recheck_due:
            waits_s.append(_RECHECK_PAUSES_S[self._recheck_count - 1])
        elif has_room:
            waits_s.append(self._poll_wait_s())
        return min(waits_s, default=None)

    def _poll_wait_s(self) -> float:
        return poll_wait_s(
            joined=self._channel is not None and self._channel.joined,
            since_wake_s=None if self._last_wake_up_s is None else time.monotonic() - self._last_wake_up_s,
            next_due_in_s=self._next_due_in_s,
            jitter=random.random(),
        )

    def _on_event(self, event: ChannelEvent) -> None:
        if isinstance(event, Joined):
            self.wake()
        elif isinstance(event, Broadcast):
            self._on_wake_up(event.payload)

    def _on_wake_up(self, payload: object) -> None:
        self._last_wake_up_s = time.monotonic()
        self._sent_at = _sent_at(payload)
        self._recheck_count = 0
        self._wake_up_received = True
        self._woken.set()


class _WakeUp(Model):
    sent_at: datetime


def _sent_at(payload: object) -> datetime | None:
    try:
        return _WakeUp.model_validate(payload).sent_at
    except ValidationError:
        return None
