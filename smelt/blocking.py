"""The client without `await`, for code without an event loop: Django, Celery, scripts.

with smelt.blocking.connect(url, key) as client:
    created = client.create(files=["meeting.m4a"])
    for update in client.watch(created.id):
        ...
"""

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from smelt.backend.tokens import TokenCallable
from smelt.backend.upload_source import File
from smelt.contract.batches import Batch
from smelt.contract.options import SmeltOptions
from smelt.contract.rows import FileRow, Notification, SmeltRow
from smelt.contract.state import Created, Snapshot
from smelt.contract.vocabulary import Mode
from smelt.loop_thread import EventLoopThread
from smelt.subscriber.client import Client as AsyncClient
from smelt.subscriber.client import connect as connect_async
from smelt.subscriber.diagnostics import Diagnostics
from smelt.subscriber.feed import FamilyReport
from smelt.subscriber.feed import Feed as AsyncFeed
from smelt.subscriber.mirror import CacheKey, FeedChange
from smelt.subscriber.notifications import Notifications as AsyncNotifications
from smelt.subscriber.subscription import Subscription as AsyncSubscription
from smelt.subscriber.updates import BatchProgress, Completed, ConnectionEvent, Failed, Progress, Segments, Update
from smelt.subscriber.uploads import UploadProgress

P = ParamSpec("P")
T = TypeVar("T")
OnInvalidate = Callable[[frozenset[CacheKey]], None]


class Client:
    """The blocking counterpart of `smelt.Client`: a context manager, thread-safe."""

    def __init__(self, thread: EventLoopThread, client: AsyncClient) -> None:
        self._thread = thread
        self._client = client
        self._pullers: set[_Puller[Any]] = set()
        self._closing = threading.RLock()  # Reentrant: a signal handler may interrupt `close` and call it.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all watches and close all connections; a second call does nothing.

        A callback may close the client as well: running callbacks are not awaited.
        """
        with self._closing:
            if self._thread.closed:
                return
            try:
                self._thread.run(self._client.aclose)
            finally:
                self._thread.close()

    def create(
        self,
        *,
        files: Sequence[File] = (),
        text: str | None = None,
        prompts: Sequence[str] | None = None,
        mode: Mode = "separate",
        user_prompt_id: UUID | str | None = None,
        batch_id: UUID | str | None = None,
        idempotency_key: str | None = None,
        options: SmeltOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: UUID | str | None = None,
        submit: bool = True,
        on_upload: Callable[[UploadProgress], None] | None = None,
    ) -> Created:
        """Create a smelt and upload its files; the arguments are those of `smelt.Client.create`.

        `on_upload` is called in another thread, one call at a time.
        """
        return self._thread.run(
            self._client.create,
            files=files,
            text=text,
            prompts=prompts,
            mode=mode,
            user_prompt_id=user_prompt_id,
            batch_id=batch_id,
            idempotency_key=idempotency_key,
            options=options,
            metadata=metadata,
            user_id=user_id,
            submit=submit,
            on_upload=_in_thread(self._thread, on_upload),
        )

    def submit(self, smelt_id: UUID | str) -> Snapshot:
        """Queue a smelt that was created with `submit=False` for the workers."""
        return self._thread.run(self._client.submit, smelt_id)

    def get(self, smelt_id: UUID | str, *, with_words: bool = False) -> Snapshot:
        """Return the current state of a smelt with its transcript; raise `NotFound`."""
        return self._thread.run(self._client.get, smelt_id, with_words=with_words)

    def cancel(self, smelt_id: UUID | str) -> Snapshot:
        """Cancel a smelt: it fails with the code `cancelled`. A smelt that has ended does not change.

        Recordings that are not submitted yet are removed: the smelt can't be retried.
        """
        return self._thread.run(self._client.cancel, smelt_id)

    def retry(self, smelt_id: UUID | str) -> Snapshot:
        """Start the next run of a failed or partial smelt; finished transcripts are kept.

        Raises:
            RequestRejected: It needs audio that is removed (`audio_expired`), or too many smelts are open.
        """
        return self._thread.run(self._client.retry, smelt_id)

    def rename_speaker(
        self, smelt_id: UUID | str, speaker: str, name: str, *, file_id: UUID | str | None = None
    ) -> Snapshot:
        """Name a speaker in the finished transcripts of a smelt: in captions, documents and results.

        Args:
            smelt_id: The smelt, which may have ended.
            speaker: The label of the speaker, such as `Speaker 1`, also if it has a name already.
            name: A text on one line, up to 100 characters; the label itself removes the name.
            file_id: The file; by default, all files whose transcript has the speaker.

        Raises:
            RequestRejected: No finished transcript has the speaker (`speaker_not_found`).
        """
        return self._thread.run(self._client.rename_speaker, smelt_id, speaker, name, file_id=file_id)

    def delete(self, smelt_id: UUID | str) -> None:
        """Delete a smelt with its files, transcripts and results."""
        self._thread.run(self._client.delete, smelt_id)

    def create_batch(self, title: str | None = None) -> Batch:
        """Create a batch; raise `Unauthorized` unless a user is signed in."""
        return self._thread.run(self._client.create_batch, title)

    @overload
    def watch(self, smelt_id: UUID | str, *, connection_events: Literal[False] = False) -> Iterator[Update]: ...

    @overload
    def watch(self, smelt_id: UUID | str, *, connection_events: bool) -> Iterator[Update | ConnectionEvent]: ...

    def watch(self, smelt_id: UUID | str, *, connection_events: bool = False) -> Iterator[Update | ConnectionEvent]:
        """Yield the updates of a smelt from its current state to `Completed` or `Failed`, across reconnects.

        With `connection_events`, also yield `Connected`, `Disconnected` and `ConnectionIssue`.
        """
        return self._pull(self._client.watch(smelt_id, connection_events=connection_events))

    def subscribe(
        self,
        smelt_id: UUID | str,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_segments: Callable[[Segments], None] | None = None,
        on_completed: Callable[[Completed], None] | None = None,
        on_failed: Callable[[Failed], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_connected: Callable[[], None] | None = None,
        on_disconnected: Callable[[], None] | None = None,
    ) -> "Subscription":
        """Follow a smelt with callbacks, which are called one at a time in another thread."""
        subscription = self._thread.run(
            self._client.subscribe,
            smelt_id,
            on_progress=_in_thread(self._thread, on_progress),
            on_segments=_in_thread(self._thread, on_segments),
            on_completed=_in_thread(self._thread, on_completed),
            on_failed=_in_thread(self._thread, on_failed),
            on_error=_in_thread(self._thread, on_error),
            on_connected=_in_thread(self._thread, on_connected),
            on_disconnected=_in_thread(self._thread, on_disconnected),
        )
        return Subscription(self._thread, subscription)

    def watch_batch(self, batch_id: UUID | str) -> Iterator[BatchProgress]:
        """Yield the progress of a batch until all of its smelts have ended."""
        return self._pull(self._client.watch_batch(batch_id))

    def wait(self, smelt_id: UUID | str, *, timeout_s: float | None = None) -> Completed:
        """Wait until a smelt completes; raise `SmeltFailed` if it fails, `TimeoutError` after `timeout_s` seconds."""
        return self._thread.run(self._client.wait, smelt_id, timeout_s=timeout_s)

    def diagnostics(self) -> Diagnostics:
        """Return the state of the connection, the watches and the reads."""
        return self._thread.ask(self._client.diagnostics)

    def feed(self, on_invalidate: OnInvalidate | None = None) -> "Feed":
        """Return the feed of the signed-in user: `with client.feed() as feed`, then iterate over it.

        `on_invalidate` is called in another thread, with the keys of cache entries that have become stale.
        """
        return Feed(self._thread, self._client.feed(), on_invalidate)

    def notifications(self) -> "Notifications":
        """Return the notifications of the signed-in user: enter as a context manager, then iterate."""
        return Notifications(self._thread, self._client.notifications())

    def _pull(self, updates: AsyncGenerator[T, None]) -> Iterator[T]:
        puller = _Puller(updates)
        # The garbage collector may end an unfinished watch in any thread, also in the loop's. Without this reference it
        # would also end the generators of the loop, all at the same time.
        self._pullers.add(puller)
        try:
            while (update := self._thread.run(puller.next)) is not None:
                yield update
        finally:
            self._pullers.discard(puller)
            if self._thread.is_current:
                self._thread.start(puller.end)
            elif not self._thread.closed:
                self._thread.run(puller.end)


class Subscription:
    """The blocking counterpart of `smelt.Subscription`."""

    def __init__(self, thread: EventLoopThread, subscription: AsyncSubscription) -> None:
        self._thread = thread
        self._subscription = subscription

    @property
    def smelt_id(self) -> UUID:
        """The id of the smelt."""
        return self._subscription.smelt_id

    @property
    def closed(self) -> bool:
        """True once no callback will be called."""
        return self._thread.closed or self._subscription.closed

    def refresh(self) -> None:
        """Read the state now and wait until it was read, or until the subscription has ended."""

        async def refresh() -> None:
            await self._subscription.refresh()

        self._thread.run(refresh)

    def wait_closed(self) -> None:
        """Wait until the smelt has ended, or watching it has failed permanently."""
        if not self.closed:
            self._thread.run(self._subscription.wait_closed)

    def close(self) -> None:
        """Stop; no callback is called afterwards."""
        if not self.closed:
            self._thread.run(self._subscription.close)


class Feed:
    """The blocking counterpart of `smelt.Feed`: a context manager and an iterator."""

    def __init__(self, thread: EventLoopThread, feed: AsyncFeed, on_invalidate: OnInvalidate | None) -> None:
        self._thread = thread
        self._feed = feed
        if on_invalidate is not None:
            self.on_invalidate(on_invalidate)

    def __enter__(self) -> Self:
        self._thread.run(self._feed.__aenter__)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._thread.closed:
            self._thread.run(self._feed.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FeedChange:
        """Wait for the next change and return it."""
        return self._thread.run(self._feed.__anext__)

    @property
    def smelts(self) -> Mapping[UUID, SmeltRow]:
        """The current smelts of the user by id."""
        return self._thread.ask(lambda: dict(self._feed.smelts))

    @property
    def files(self) -> Mapping[UUID, FileRow]:
        """The current files of all smelts by id."""
        return self._thread.ask(lambda: dict(self._feed.files))

    def on_invalidate(self, hook: OnInvalidate) -> None:
        """Add a function that is called in another thread with the cache keys to invalidate."""
        self._feed.on_invalidate(lambda keys: self._thread.call_in_thread(hook, keys))

    def report(self) -> tuple[FamilyReport, ...]:
        """Return the freshness of each family of cache keys."""
        return self._thread.ask(self._feed.report)


class Notifications:
    """The blocking counterpart of `smelt.Notifications`: a context manager and an iterator."""

    def __init__(self, thread: EventLoopThread, notifications: AsyncNotifications) -> None:
        self._thread = thread
        self._notifications = notifications

    def __enter__(self) -> Self:
        self._thread.run(self._notifications.__aenter__)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._thread.closed:
            self._thread.run(self._notifications.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Notification:
        """Wait for the next notification and return it."""
        return self._thread.run(self._notifications.__anext__)

    def mark_seen(self, *ids: UUID | str) -> int:
        """Mark notifications as seen (shown in a list); return how many were unseen."""
        return self._thread.run(self._notifications.mark_seen, *ids)

    def mark_read(self, *ids: UUID | str) -> int:
        """Mark notifications as read (opened); return how many were unread."""
        return self._thread.run(self._notifications.mark_read, *ids)


def connect(url: str, key: str, access_token: str | TokenCallable | None = None, *, polling: bool = True) -> Client:
    """Return a blocking client of the Supabase project at `url`; the arguments are those of `smelt.connect`.

    A plain function as `access_token` is called in another thread.
    """
    thread = EventLoopThread()
    if callable(access_token) and not inspect.iscoroutinefunction(access_token):
        access_token = _token_in_thread(thread, access_token)

    async def open_client() -> AsyncClient:
        return connect_async(url, key, access_token, polling=polling)

    return Client(thread, thread.run(open_client))


def _token_in_thread(thread: EventLoopThread, ask: TokenCallable) -> TokenCallable:
    async def fresh() -> str:
        result = await thread.call_in_thread(ask)
        return await result if isinstance(result, Awaitable) else result

    return fresh


def _in_thread(thread: EventLoopThread, callback: Callable[P, None] | None) -> Callable[P, Awaitable[None]] | None:
    # The event loop is not blocked meanwhile, so that the callback may use the client itself.
    return None if callback is None else partial(thread.call_in_thread, callback)


class _Puller(Generic[T]):
    """Pulls updates one at a time; `end` waits for a pull that was interrupted."""

    def __init__(self, updates: AsyncGenerator[T, None]) -> None:
        self._updates = updates
        self._lock = asyncio.Lock()

    async def next(self) -> T | None:
        async with self._lock:
            return await anext(self._updates, None)

    async def end(self) -> None:
        async with self._lock:
            await self._updates.aclose()
