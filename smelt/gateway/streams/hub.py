"""The hub: admits streams, and shares one source for each identity and subject."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Annotated, Self, TypeVar, cast

from fastapi import Depends, Request

from smelt.errors import SmeltError, Unavailable
from smelt.gateway.callers import Caller
from smelt.gateway.clients import Clients
from smelt.gateway.limits import Places
from smelt.subscriber.client import Client

logger = logging.getLogger(__name__)


class Source(ABC):
    """The changes of one subject, for all streams of one identity; runs while it has a reader.

    `error` is set once it has failed; `is_closed` once it has failed or ended.
    """

    def __init__(self) -> None:
        self.error: SmeltError | None = None
        self.is_closed = False
        self.task: asyncio.Task[None] | None = None
        self.readers: set[asyncio.Event] = set()

    @abstractmethod
    async def follow(self, client: Client) -> None:
        """Receive changes and `wake` the readers, until the subject ends."""

    def wake(self) -> None:
        """Wake all readers: there is something to take."""
        for changed in self.readers:
            changed.set()


S = TypeVar("S", bound=Source)


class Hub:
    """The streams of a gateway; an async context manager.

    Args:
        clients: The clients that callers of one identity share.
        drain: Once it is set, all streams end.
        places: Bounds the number of streams.
    """

    def __init__(self, clients: Clients, drain: asyncio.Event, places: Places) -> None:
        self._clients = clients
        self._drain = drain
        self._places = places
        self._sources: dict[Hashable, Source] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Event] = set()

    async def __aenter__(self) -> Self:
        self._spawn(self._wake_at_drain(), "drain of streams")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def source_count(self) -> int:
        """The number of sources that have readers."""
        return len(self._sources)

    @property
    def is_draining(self) -> bool:
        """True once all streams end."""
        return self._drain.is_set()

    @contextmanager
    def admitted(self, caller: Caller) -> Iterator[None]:
        """Count a stream in the block; raise `Problem` beyond a limit, and `Unavailable` while draining."""
        if self.is_draining:
            raise Unavailable("The gateway stops; connect again.")
        with self._places.taken(caller.counted_as):
            yield

    @contextmanager
    def waking(self, changed: asyncio.Event) -> Iterator[None]:
        """Set `changed` at the drain, in the block."""
        self._readers.add(changed)
        try:
            yield
        finally:
            self._readers.discard(changed)

    @contextmanager
    def joined(self, caller: Caller, subject: Hashable, changed: asyncio.Event, make: Callable[[], S]) -> Iterator[S]:
        """Yield the source of a subject for the caller's identity; the last reader that leaves ends it at once.

        Args:
            caller: Its first reader's credential opens the source. The caller must have been authorized.
            subject: Identifies the subject; sources are shared by identity and subject.
            changed: Set whenever there is something to take.
            make: Makes the source if there is none.
        """
        key = (caller.identity, caller.project.key, subject)
        source = cast("S | None", self._sources.get(key))
        if source is None or source.is_closed:
            source = self._sources[key] = make()
            source.task = self._spawn(self._run(key, source, caller), f"source of {subject}")
        source.readers.add(changed)
        try:
            yield source
        finally:
            source.readers.discard(changed)
            if not source.readers and source.task is not None:
                self._forget(key, source)
                source.task.cancel()

    async def _run(self, key: Hashable, source: Source, caller: Caller) -> None:
        try:
            async with self._clients.lease(caller) as client:
                await source.follow(client)
        except SmeltError as exc:
            source.error = exc
        except Exception as exc:  # No reader may wait forever for a source that has stopped.
            logger.exception("a source of streams failed")
            source.error = SmeltError(f"a source of streams failed: {exc!r}")
        finally:
            source.is_closed = True
            self._forget(key, source)
            source.wake()

    async def _wake_at_drain(self) -> None:
        await self._drain.wait()
        for changed in self._readers:
            changed.set()

    def _forget(self, key: Hashable, source: Source) -> None:
        if self._sources.get(key) is source:
            del self._sources[key]

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def current_hub(request: Request) -> Hub:
    """Return the hub of the running application."""
    hub: Hub = request.app.state.hub
    return hub


CurrentHub = Annotated[Hub, Depends(current_hub)]
