"""Reads of the states of all watches of a client, combined into as few calls as possible."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from smelt.backend.client_rpc import ClientRpc, SeenState, State, States
from smelt.backend.retries import reconnect_wait_s
from smelt.backend.waiting import wait_for_event
from smelt.errors import NotFound, PermanentError, SmeltError, TransientError, Unavailable
from smelt.subscriber.diagnostics import WatchReport

logger = logging.getLogger(__name__)

SMELTS_PER_CALL: Final = 200
CALL_TIMEOUT_S: Final = 10.0
# A call includes the watches that are due within GATHER_S. Calls are spaced by a second; urgent ones by less.
GATHER_S: Final = 2.0
POLL_SPACING_S: Final = 1.0
URGENT_SPACING_S: Final = 0.1


class Watched(Protocol):
    """A consumer of the state of one smelt, such as a watch."""

    smelt_id: UUID

    @property
    def known(self) -> SeenState:
        """The state that need not be read again."""
        ...

    def merge_state(self, state: State, requested: SeenState) -> None:
        """Receive the state that was read; `requested` is the `known` of the request."""
        ...

    def report_issue(self, error: TransientError, *, live: bool = False) -> None:
        """Receive a transient error of a read, or, if `live`, of the live connection; it will be retried."""
        ...

    def fail(self, error: SmeltError) -> None:
        """Receive a permanent error; there will be no more reads."""
        ...

    def next_read_in_s(self) -> float | None:
        """Return the seconds until the next read; None for no read until `request_read`."""
        ...

    def report(self) -> WatchReport:
        """Return the current state of the watch."""
        ...


class Reader:
    """Reads the state for each watch when it is due, one call at a time."""

    def __init__(self, calls: ClientRpc) -> None:
        self.read_count = 0
        self.failures_in_a_row = 0
        self.last_read_at: float | None = None
        self._retry_at = 0.0
        # Long transcripts together may take longer than a call may: half as many after a failure, twice as many after a
        # success.
        self._smelts_per_call = SMELTS_PER_CALL
        self._calls = calls
        self._due_at: dict[Watched, float] = {}
        self._urgent: set[Watched] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def watches(self) -> tuple[Watched, ...]:
        """All watches that are read for."""
        return tuple(self._due_at)

    def add(self, watched: Watched, first_in_s: float | None) -> None:
        """Add a watch; read first after `first_in_s` seconds, or only on request if that is None."""
        self._set_due(watched, first_in_s)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="smelt reader")

    def remove(self, watched: Watched) -> None:
        """Remove a watch."""
        self._due_at.pop(watched, None)
        self._urgent.discard(watched)
        self._changed.set()

    def request_read(self, watched: Watched) -> None:
        """Schedule a read for a watch as soon as possible."""
        if watched in self._due_at:
            self._urgent.add(watched)
            self._changed.set()

    def reschedule(self, watched: Watched) -> None:
        """Read for a watch after its current `next_read_in_s`, if that is sooner than scheduled."""
        if watched in self._due_at:
            planned_at = self._due_at[watched]
            self._set_due(watched, watched.next_read_in_s())
            self._due_at[watched] = min(planned_at, self._due_at[watched])

    async def close(self) -> None:
        """Fail all watches and stop reading."""
        for watched in list(self._due_at):
            watched.fail(PermanentError("the client is closed"))
        self._due_at.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._read_all()
        except Exception as exc:  # No watch may wait forever for a reader that has stopped.
            logger.exception("reading the state of smelts failed")
            for watched in list(self._due_at):
                watched.fail(SmeltError(f"reading the state of smelts failed: {exc!r}"))
            self._due_at.clear()

    def _set_due(self, watched: Watched, in_s: float | None) -> None:
        self._due_at[watched] = float("inf") if in_s is None else time.monotonic() + in_s
        self._changed.set()

    async def _read_all(self) -> None:
        while self._due_at:
            self._changed.clear()
            wait_s = self._wait_s()
            if wait_s <= 0:
                await self._read(self._batch())
                continue
            await wait_for_event(self._changed, wait_s)

    def _wait_s(self) -> float:
        now = time.monotonic()
        last_at = self.last_read_at or 0.0
        if self._urgent:
            # The watch whose read failed may be removed; the others do not wait for its retry.
            return (self._retry_at if self.failures_in_a_row else last_at + URGENT_SPACING_S) - now
        return max(min(self._due_at.values()), last_at + POLL_SPACING_S) - now

    def _batch(self) -> list[Watched]:
        soon = time.monotonic() + GATHER_S
        urgent = [watched for watched in self._due_at if watched in self._urgent]
        due = [w for w, at in self._due_at.items() if at <= soon and w not in self._urgent]
        return [*urgent, *sorted(due, key=self._due_at.__getitem__)][: self._smelts_per_call]

    async def _read(self, batch: Sequence[Watched]) -> None:
        requested = {watched.smelt_id: watched.known for watched in batch}
        self._urgent.difference_update(batch)
        self.last_read_at = time.monotonic()
        self.read_count += 1
        try:
            states = await self._get_states(list(requested.values()))
        except TransientError as exc:
            self._schedule_retry(batch, exc)
        except PermanentError as exc:
            for watched in batch:
                self._end(watched, exc)
        else:
            self.failures_in_a_row = 0
            self._smelts_per_call = min(2 * self._smelts_per_call, SMELTS_PER_CALL)
            self._distribute(batch, states, requested)

    async def _get_states(self, requested: list[SeenState]) -> States:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._calls.get_smelts(requested)
        except TimeoutError as exc:
            raise Unavailable("reading the state of smelts timed out") from exc

    def _schedule_retry(self, batch: Sequence[Watched], error: TransientError) -> None:
        self.failures_in_a_row += 1
        self._smelts_per_call = max(1, self._smelts_per_call // 2)
        wait_s = POLL_SPACING_S + reconnect_wait_s(self.failures_in_a_row)
        self._retry_at = time.monotonic() + wait_s
        logger.info("reading %s smelts again in %.1f s: %s", len(batch), wait_s, error)
        for watched in batch:
            if watched in self._due_at:
                watched.report_issue(error)
                self._set_due(watched, wait_s)

    def _end(self, watched: Watched, error: SmeltError) -> None:
        self._due_at.pop(watched, None)
        self._urgent.discard(watched)  # It may have been requested again during the read.
        watched.fail(error)

    def _distribute(self, batch: Sequence[Watched], states: States, requested: dict[UUID, SeenState]) -> None:
        by_id = {state.id: state for state in states.smelts}
        for watched in batch:
            if watched not in self._due_at:
                continue
            state = by_id.get(watched.smelt_id)
            if state is None:
                self._end(watched, NotFound("not_found", "The smelt does not exist, or belongs to another user."))
            else:
                watched.merge_state(state, requested[watched.smelt_id])
                self._set_due(watched, watched.next_read_in_s())
