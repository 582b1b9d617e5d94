"""The claim loop: takes smelts as long as there is room, sleeps otherwise, and wakes when there is work."""

import asyncio
import random
import time
from typing import Final

from smelt.backend.project import Project
from smelt.backend.realtime import Channel
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import WORKERS_CHANNEL
from smelt.contract.work import Claim
from smelt.processor.options import WorkerOptions
from smelt.processor.polling import poll_wait_s

_RETRY_S: Final = 2.0
_HOLD_OFF_S: Final = 10.0
_YIELD_S: Final = 0.3


class ClaimLoop:
    """Claims for one worker; woken by the channel of the workers, by polling, or by `wake`."""

    def __init__(self, project: Project, options: WorkerOptions) -> None:
        self._project = project
        self._calls = WorkerRpc(project.rpc)
        self._options = options
        self._woken = asyncio.Event()
        self._heard = False
        self._woken_at_s: float | None = None
        self._channel: Channel | None = None
        self._next_due_in_s: float | None = None

    async def listen(self) -> None:
        """Begin to hear of new work."""
        self._channel = await self._project.realtime.join(
            WORKERS_CHANNEL, on_message=lambda _event, _payload: self._hear(), on_joined=self.wake
        )

    def wake(self) -> None:
        """There may be work, or room for it."""
        self._woken.set()

    def hold_off(self) -> None:
        """Look again in a while, unless a claim says when."""
        self._next_due_in_s = _HOLD_OFF_S

    async def claim(self, room: int) -> tuple[Claim, ...]:
        """Take up to `room` smelts; raise `Unavailable` while the database does not answer."""
        self._next_due_in_s = _RETRY_S
        claims = await self._calls.claim_smelts(self._options.worker_id, max_count=room, lease_s=self._options.lease_s)
        self._next_due_in_s = claims.next_due_in_s
        return claims.smelts

    async def sleep(self, *, has_room: bool, is_busy: bool = False) -> None:
        """Sleep until there may be work; without room for it until something ends, which wakes.

        Of new work a busy worker hears a moment later: with an idle one it is not behind a recording of hours.
        """
        try:
            async with asyncio.timeout(self._wait_s() if has_room else None):
                await self._woken.wait()
        except TimeoutError:
            pass
        heard, self._heard = self._heard, False
        self._woken.clear()
        if heard and is_busy:
            await asyncio.sleep(_YIELD_S)

    def _wait_s(self) -> float:
        return poll_wait_s(
            joined=self._channel is not None and self._channel.joined,
            since_wake_s=None if self._woken_at_s is None else time.monotonic() - self._woken_at_s,
            next_due_in_s=self._next_due_in_s,
            spread=random.random(),
        )

    def _hear(self) -> None:
        self._woken_at_s = time.monotonic()
        self._heard = True
        self._woken.set()
