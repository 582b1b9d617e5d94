"""Reads the states of all watches of a client together, in as few calls as it takes."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from smelt.backend.client_rpc import ClientRpc, SeenState, State, States
from smelt.backend.retries import reconnect_wait_s
from smelt.errors import NotFound, PermanentError, SmeltError, TransientError, Unavailable
from smelt.subscriber.diagnostics import WatchReport

logger = logging.getLogger(__name__)

SMELTS_A_CALL: Final = 200
CALL_TIMEOUT_S: Final = 10.0
# What is due soon goes along with what is due now; polls leave a second between them, urgent reads a moment.
GATHER_S: Final = 2.0
POLL_SPACING_S: Final = 1.0
URGENT_SPACING_S: Final = 0.1


class Watched(Protocol):
    """Somebody who wants to know the state of a smelt."""

    smelt_id: UUID

    @property
    def known(self) -> SeenState:
        """What need not be told again."""
        ...

    def take_state(self, state: State, asked: SeenState) -> None:
        """Hear the answer to what was asked."""
        ...

    def take_trouble(self, error: TransientError, *, live: bool = False) -> None:
        """Hear that reading, or the live connection, did not work; it will be tried again."""
        ...

    def fail(self, error: SmeltError) -> None:
        """Hear that reading never will work."""
        ...

    def next_read_in_s(self) -> float | None:
        """When to read again; None for not until asked to."""
        ...

    def report(self) -> WatchReport:
        """How it stands."""
        ...


class Reader:
    """Reads for each watch when it is due; one call at a time."""

    def __init__(self, calls: ClientRpc) -> None:
        self.read_count = 0
        self.failures_in_a_row = 0
        self.last_read_at: float | None = None
        self._retry_at = 0.0
        self._calls = calls
        self._due_at: dict[Watched, float] = {}
        self._urgent: set[Watched] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def watches(self) -> tuple[Watched, ...]:
        """All that are read for."""
        return tuple(self._due_at)

    def add(self, watched: Watched, first_in_s: float | None) -> None:
        """Read for a watch from now on, first after some seconds or when asked to."""
        self._set_due(watched, first_in_s)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="smelt reader")

    def remove(self, watched: Watched) -> None:
        """Read no more for a watch."""
        self._due_at.pop(watched, None)
        self._urgent.discard(watched)
        self._changed.set()

    def ask(self, watched: Watched) -> None:
        """Read for a watch as soon as possible."""
        if watched in self._due_at:
            self._urgent.add(watched)
            self._changed.set()

    def hasten(self, watched: Watched) -> None:
        """Read for a watch when it says so now, if that is sooner than planned."""
        if watched in self._due_at:
            planned_at = self._due_at[watched]
            self._set_due(watched, watched.next_read_in_s())
            self._due_at[watched] = min(planned_at, self._due_at[watched])

    async def close(self) -> None:
        """End all watches; none of them hears anything after that."""
        for watched in list(self._due_at):
            watched.fail(PermanentError("the client is closed"))
        self._due_at.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._read_all()
        except Exception as exc:  # Whatever it is, nobody shall wait for ever for what is not read any more.
            logger.exception("reading the state of smelts broke")
            for watched in list(self._due_at):
                watched.fail(SmeltError(f"reading the state of smelts broke: {exc!r}"))
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == float("inf") else wait_s):
                    await self._changed.wait()

    def _wait_s(self) -> float:
        now = time.monotonic()
        last_at = self.last_read_at or 0.0
        if self._urgent:
            # The watch whose read failed may be gone: the others do not wait for it.
            return (self._retry_at if self.failures_in_a_row else last_at + URGENT_SPACING_S) - now
        return max(min(self._due_at.values()), last_at + POLL_SPACING_S) - now

    def _batch(self) -> list[Watched]:
        soon = time.monotonic() + GATHER_S
        urgent = [watched for watched in self._due_at if watched in self._urgent]
        due = [w for w, at in self._due_at.items() if at <= soon and w not in self._urgent]
        return [*urgent, *sorted(due, key=self._due_at.__getitem__)][:SMELTS_A_CALL]

    async def _read(self, batch: Sequence[Watched]) -> None:
        asked = {watched.smelt_id: watched.known for watched in batch}
        self._urgent.difference_update(batch)
        self.last_read_at = time.monotonic()
        self.read_count += 1
        try:
            states = await self._ask_once(list(asked.values()))
        except TransientError as exc:
            self._put_off(batch, exc)
        except PermanentError as exc:
            for watched in batch:
                watched.fail(exc)
                self._due_at.pop(watched, None)
        else:
            self.failures_in_a_row = 0
            self._hand_out(batch, states, asked)

    async def _ask_once(self, asked: list[SeenState]) -> States:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._calls.get_smelts(asked)
        except TimeoutError as exc:
            raise Unavailable("the state of the smelts was not answered in time") from exc

    def _put_off(self, batch: Sequence[Watched], error: TransientError) -> None:
        self.failures_in_a_row += 1
        wait_s = POLL_SPACING_S + reconnect_wait_s(self.failures_in_a_row)
        self._retry_at = time.monotonic() + wait_s
        logger.info("reading %s smelts again in %.1f s: %s", len(batch), wait_s, error)
        for watched in batch:
            if watched in self._due_at:
                watched.take_trouble(error)
                self._set_due(watched, wait_s)

    def _hand_out(self, batch: Sequence[Watched], states: States, asked: dict[UUID, SeenState]) -> None:
        by_id = {state.id: state for state in states.smelts}
        for watched in batch:
            if watched not in self._due_at:
                continue
            state = by_id.get(watched.smelt_id)
            if state is None:
                self._due_at.pop(watched)
                watched.fail(NotFound("not_found", "There is no such smelt."))
            else:
                watched.take_state(state, asked[watched.smelt_id])
                self._set_due(watched, watched.next_read_in_s())
