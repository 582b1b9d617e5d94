"""Subscriptions: a watch that calls functions."""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar, assert_never
from uuid import UUID

from smelt.errors import SmeltError
from smelt.subscriber.backlog import Item
from smelt.subscriber.updates import (
    Completed,
    Connected,
    ConnectionIssue,
    Disconnected,
    Failed,
    Progress,
    Segments,
    Update,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Callback = Callable[[T], Awaitable[None] | None]
ConnectionCallback = Callable[[], Awaitable[None] | None]


@dataclass(frozen=True)
class Callbacks:
    """The functions, plain or async, that a subscription calls, one at a time and in order."""

    on_progress: Callback[Progress] | None = None
    on_segments: Callback[Segments] | None = None
    on_completed: Callback[Completed] | None = None
    on_failed: Callback[Failed] | None = None
    on_error: Callback[Exception] | None = None
    on_connected: ConnectionCallback | None = None
    on_disconnected: ConnectionCallback | None = None


class Followed(Protocol):
    """A watch of one smelt, such as a subscription follows."""

    smelt_id: UUID

    def items(self) -> AsyncGenerator[Item, None]:
        """Yield updates and connection events in order until the smelt ends."""
        ...

    def updates(self) -> AsyncGenerator[Update, None]:
        """Yield updates without connection events."""
        ...

    def refresh(self) -> asyncio.Future[None]:
        """Read the state as soon as possible; the future is done once it was read."""
        ...


class Subscription:
    """Calls functions for each update until the smelt ends or `close` is called."""

    def __init__(self, watch: Followed, callbacks: Callbacks, on_over: Callable[["Subscription"], None]) -> None:
        self._watch = watch
        self._callbacks = callbacks
        self._task = asyncio.create_task(self._run(), name=f"subscription {watch.smelt_id}")
        self._refreshes: set[asyncio.Future[None]] = set()
        self._task.add_done_callback(lambda _: self._end_refreshes())
        self._task.add_done_callback(lambda _: on_over(self))

    @property
    def smelt_id(self) -> UUID:
        """The id of the smelt."""
        return self._watch.smelt_id

    @property
    def closed(self) -> bool:
        """True once no callback will be called."""
        return self._task.done()

    def refresh(self) -> asyncio.Future[None]:
        """Read the state now; new updates are delivered to the callbacks.

        The future need not be awaited. It is done once the state was read or the subscription has ended, and never
        holds an error: `on_error` gets those.
        """
        refreshed = self._watch.refresh()
        self._refreshes.add(refreshed)
        refreshed.add_done_callback(self._refreshes.discard)
        if self.closed:
            self._end_refreshes()
        return refreshed

    async def wait_closed(self) -> None:
        """Wait until the smelt has ended, or watching it has failed permanently."""
        await asyncio.wait([self._task])

    async def close(self) -> None:
        """Stop; no callback is called afterwards."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def _end_refreshes(self) -> None:
        for refreshed in self._refreshes:
            if not refreshed.done():
                refreshed.set_result(None)

    async def _run(self) -> None:
        try:
            async with aclosing(self._watch.items()) as items:
                async for item in items:
                    await self._dispatch(item)
        except SmeltError as exc:
            await self._call(self._callbacks.on_error, exc)

    async def _dispatch(self, item: Item) -> None:
        match item:
            case Progress():
                await self._call(self._callbacks.on_progress, item)
            case Segments():
                await self._call(self._callbacks.on_segments, item)
            case Completed():
                await self._call(self._callbacks.on_completed, item)
            case Failed():
                await self._call(self._callbacks.on_failed, item)
            case ConnectionIssue(error):
                await self._call(self._callbacks.on_error, error)
            case Connected():
                await self._call(self._callbacks.on_connected)
            case Disconnected():
                await self._call(self._callbacks.on_disconnected)
            case _:
                assert_never(item)

    async def _call(self, callback: Callable[..., Awaitable[None] | None] | None, *arguments: object) -> None:
        if callback is None:
            return
        try:
            result = callback(*arguments)
            if inspect.isawaitable(result):
                await result
        except Exception as exc:
            logger.exception("a callback for smelt %s failed", self.smelt_id)
            if self._callbacks.on_error is not None and callback is not self._callbacks.on_error:
                await self._call(self._callbacks.on_error, exc)
