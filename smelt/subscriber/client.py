"""The client: creates, watches and manages smelts of one project."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, Self, overload
from uuid import UUID
from weakref import WeakSet

from smelt.backend.client_rpc import ClientRpc, FileSpec
from smelt.backend.project import Project
from smelt.backend.realtime import ConnectionState
from smelt.backend.tokens import TokenCallable
from smelt.backend.upload_source import File, UploadSource, open_sources
from smelt.contract.batches import Batch
from smelt.contract.options import SmeltOptions
from smelt.contract.state import Created, Snapshot, Unchanged
from smelt.contract.vocabulary import Mode, PromptName
from smelt.errors import Forbidden, SmeltFailed, Unavailable
from smelt.subscriber.batch import BatchWatch
from smelt.subscriber.diagnostics import Diagnostics
from smelt.subscriber.feed import Feed, OnInvalidate
from smelt.subscriber.live_iterator import LiveIterator
from smelt.subscriber.notifications import Notifications
from smelt.subscriber.reader import Reader
from smelt.subscriber.subscription import Callback, Callbacks, ConnectionCallback, Followed, Subscription
from smelt.subscriber.updates import BatchProgress, Completed, ConnectionEvent, Failed, Progress, Segments, Update
from smelt.subscriber.uploads import OnUpload, Uploads
from smelt.subscriber.watch import Watch

ABANDON_TIMEOUT_S: Final = 5.0


class Client:
    """The smelts of one project, as a user or as a visitor; an async context manager."""

    def __init__(self, project: Project, *, polling: bool = True) -> None:
        self._project = project
        self._calls = ClientRpc(project.rpc)
        self._reader = Reader(self._calls)
        self._polling = polling
        self._subscriptions: set[Subscription] = set()
        self._live_iterators: WeakSet[LiveIterator[Any]] = WeakSet()
        project.realtime.add_state_listener(self._on_connection_state)

    @property
    def polling(self) -> bool:
        """False if the client relies on live events, and reads only after each join and to fill known gaps."""
        return self._polling

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all watches, subscriptions and feeds, and close all connections.

        Everything is closed even if this call is cancelled.
        """
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._project.aclose)
            closing.push_async_callback(self._reader.close)
            for subscription in self._subscriptions:
                closing.push_async_callback(subscription.close)
            for iterator in self._live_iterators:
                closing.push_async_callback(iterator.close)

    async def create(
        self,
        *,
        files: Sequence[File] = (),
        text: str | None = None,
        prompts: Sequence[PromptName | str] | None = None,
        mode: Mode = "separate",
        user_prompt_id: UUID | str | None = None,
        batch_id: UUID | str | None = None,
        idempotency_key: str | None = None,
        options: SmeltOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: UUID | str | None = None,
        submit: bool = True,
        on_upload: OnUpload | None = None,
    ) -> Created:
        """Create a smelt and upload its files.

        If the call raises or is cancelled, the smelt is deleted, unless there is an `idempotency_key`.

        Args:
            files: Up to five recordings, a visitor one; or else pass `text`. Each is a path, or a tuple of a filename
                and its content: bytes, a file object that is open for reading bytes, or an async iterator of bytes.
            text: A text to process instead of recordings.
            prompts: Names of default prompts. None applies `summarize`, or the user's prompt alone; an empty list
                applies none, so that the result is the transcript.
            mode: `separate` results for each file, or `combine` for one result.
            user_prompt_id: A prompt that the user has saved.
            batch_id: The batch that the smelt belongs to.
            idempotency_key: A repeated call with the same key returns the same smelt, and resumes an interrupted one.
            options: How the recordings are transcribed: language, vocabulary, model and more.
            metadata: JSON of the app, up to 4 KiB, which comes back in rows, snapshots and notifications.
            user_id: The user who will own the smelt; for the service alone.
            submit: Queue the smelt for the workers after the upload.
            on_upload: A function, plain or async, that is called with `UploadProgress` as the files are sent. An
                exception that it raises ends the upload and is raised here.

        Raises:
            RequestRejected: The request is invalid, or exceeds a limit.
            Unauthorized: The key or token is rejected.
            Unavailable: The project does not respond.
            PermanentError: A file has changed while it was uploaded.
            OSError: A file can't be read.
        """
        if isinstance(files, str | PathLike) or isinstance(prompts, str):
            raise TypeError("files and prompts must be lists, even with one element")
        async with self._open_sources(files) as sources:
            creating = asyncio.create_task(
                self._calls.create_smelt(
                    files=[FileSpec(source.filename, source.size_bytes) for source in sources],
                    text_input=text,
                    mode=mode,
                    default_prompt_names=prompts,
                    user_prompt_id=user_prompt_id,
                    batch_id=batch_id,
                    idempotency_key=idempotency_key,
                    options=options,
                    metadata=metadata,
                    user_id=user_id,
                    submit=submit,
                )
            )
            try:
                created = await asyncio.shield(creating)
                if idempotency_key is not None and await self._is_submitted(created):
                    return created
                await self._upload(created, sources, on_upload, again=idempotency_key is not None)
                # A text is submitted when it is created, unless an earlier call with its key did not submit it.
                if submit and (text is None or idempotency_key is not None):
                    await self.submit(created.id)
            except BaseException:
                if idempotency_key is None:  # The caller never got its id and cannot resume it.
                    await self._abandon(creating)
                creating.cancel()
                raise
        return created

    async def submit(self, smelt_id: UUID | str) -> Snapshot:
        """Queue a smelt that was created with `submit=False` for the workers."""
        return await self._calls.submit_smelt(smelt_id)

    async def get(self, smelt_id: UUID | str, *, with_words: bool = False) -> Snapshot:
        """Return the current state of a smelt with its transcript; raise `NotFound`.

        `with_words` includes the times of words, which are saved with the option `word_times` of the smelt, or if the
        worker has `SMELT_WORD_TIMES` set.
        """
        state = await self._calls.get_smelt(smelt_id, with_words=with_words)
        if isinstance(state, Unchanged):
            raise Unavailable("unexpected response: unchanged, without a seq in the request")
        return state

    async def cancel(self, smelt_id: UUID | str) -> Snapshot:
        """Cancel a smelt: it fails with the code `cancelled`. A smelt that has ended does not change.

        Recordings that are not submitted yet are removed: the smelt can't be retried.
        """
        return await self._calls.cancel_smelt(smelt_id)

    async def retry(self, smelt_id: UUID | str) -> Snapshot:
        """Start the next run of a failed or partial smelt; finished transcripts are kept.

        Raises:
            RequestRejected: It needs audio that is removed (`audio_expired`), or too many smelts are open.
        """
        return await self._calls.retry_smelt(smelt_id)

    async def rename_speaker(
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
        return await self._calls.rename_speaker(smelt_id, speaker, name, file_id=file_id)

    async def delete(self, smelt_id: UUID | str) -> None:
        """Delete a smelt with its files, transcripts and results."""
        await self._calls.delete_smelt(smelt_id)

    async def create_batch(self, title: str | None = None) -> Batch:
        """Create a batch; raise `Unauthorized` unless a user is signed in."""
        await self._project.user_id()
        return await self._calls.create_batch(title)

    def watch_batch(self, batch_id: UUID | str) -> AsyncGenerator[BatchProgress, None]:
        """Yield the progress of a batch until all of its smelts have ended; raise `NotFound` or `Unauthorized`."""
        watch = BatchWatch(UUID(str(batch_id)), self._project.realtime, self._calls, polling=self._polling)
        self._live_iterators.add(watch)
        return watch.updates()

    def feed(self, on_invalidate: OnInvalidate | None = None) -> Feed:
        """Return the feed of the signed-in user: `async with client.feed() as feed`, then iterate over it.

        `on_invalidate` is called with the keys of cache entries that have become stale.
        """
        hooks = () if on_invalidate is None else (on_invalidate,)
        feed = Feed(self._project, polling=self._polling, on_invalidate=hooks)
        self._live_iterators.add(feed)
        return feed

    def notifications(self) -> Notifications:
        """Return the notifications of the signed-in user: enter as an async context manager, then iterate."""
        notifications = Notifications(self._project, polling=self._polling)
        self._live_iterators.add(notifications)
        return notifications

    @overload
    def watch(
        self, smelt_id: UUID | str, *, connection_events: Literal[False] = False
    ) -> AsyncGenerator[Update, None]: ...

    @overload
    def watch(
        self, smelt_id: UUID | str, *, connection_events: bool
    ) -> AsyncGenerator[Update | ConnectionEvent, None]: ...

    def watch(
        self, smelt_id: UUID | str, *, connection_events: bool = False
    ) -> AsyncGenerator[Update | ConnectionEvent, None]:
        """Yield the updates of a smelt from its current state to `Completed` or `Failed`, across reconnects.

        With `connection_events`, also yield `Connected`, `Disconnected` and `ConnectionIssue` (an error that is retried
        or compensated by polling). A slow consumer gets the newest progress of each stage, and all segments. Raises
        `NotFound` or `Unauthorized` if the caller may not, or no longer, read the smelt.
        """
        watch = self._open(smelt_id)
        return watch.items() if connection_events else watch.updates()

    async def wait(self, smelt_id: UUID | str, *, timeout_s: float | None = None) -> Completed:
        """Wait until a smelt completes; raise `SmeltFailed` if it fails, `TimeoutError` after `timeout_s` seconds."""
        async with asyncio.timeout(timeout_s), aclosing(self.watch(smelt_id)) as updates:
            async for update in updates:
                if isinstance(update, Completed):
                    return update
                if isinstance(update, Failed):
                    raise SmeltFailed(str(update.smelt_id), update.error_code, update.error_message)
        raise Unavailable("the watch ended before the smelt")

    async def subscribe(
        self,
        smelt_id: UUID | str,
        *,
        on_progress: Callback[Progress] | None = None,
        on_segments: Callback[Segments] | None = None,
        on_completed: Callback[Completed] | None = None,
        on_failed: Callback[Failed] | None = None,
        on_error: Callback[Exception] | None = None,
        on_connected: ConnectionCallback | None = None,
        on_disconnected: ConnectionCallback | None = None,
    ) -> Subscription:
        """Follow a smelt with callbacks, plain or async, one call at a time.

        `on_error` is called with connection issues, with the error that ends the subscription, and with exceptions of
        the other callbacks, which are also logged.
        """
        callbacks = Callbacks(
            on_progress=on_progress,
            on_segments=on_segments,
            on_completed=on_completed,
            on_failed=on_failed,
            on_error=on_error,
            on_connected=on_connected,
            on_disconnected=on_disconnected,
        )
        subscription = Subscription(self._open(smelt_id), callbacks, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription

    def diagnostics(self) -> Diagnostics:
        """Return the state of the connection, the watches and the reads; `str()` of it is meant for people."""
        return Diagnostics(
            connection=self._project.realtime.report(),
            watches=tuple(watched.report() for watched in self._reader.watches),
            read_count=self._reader.read_count,
            read_failures_in_a_row=self._reader.failures_in_a_row,
        )

    def _open(self, smelt_id: UUID | str) -> Followed:
        return self._open_watch(smelt_id)

    def _open_watch(self, smelt_id: UUID | str) -> Watch:
        return Watch(UUID(str(smelt_id)), self._project.realtime, self._reader, polling=self._polling)

    def _on_connection_state(self, state: ConnectionState) -> None:
        if state == "disconnected" and (reason := self._project.realtime.report().last_error) is not None:
            for watched in self._reader.watches:
                watched.report_issue(Unavailable(reason), live=True)

    def _open_sources(self, files: Sequence[File]) -> AbstractAsyncContextManager[list[UploadSource]]:
        return open_sources(files)

    async def _upload(
        self, created: Created, sources: Sequence[UploadSource], on_upload: OnUpload | None, *, again: bool
    ) -> None:
        paths = [file.upload_path for file in created.files if file.upload_path is not None]
        try:
            await Uploads(self._project.audio, on_upload=on_upload, again=again).run(sources, paths)
        except Forbidden:
            # Nothing can be uploaded to a smelt that an equal call has submitted meanwhile.
            if not (again and await self._is_submitted(created)):
                raise

    async def _is_submitted(self, created: Created) -> bool:
        return (await self.get(created.id)).submitted_at is not None

    async def _abandon(self, creating: asyncio.Task[Created]) -> None:
        """Delete a smelt once it is created, within `ABANDON_TIMEOUT_S` and even if this call is cancelled."""

        async def delete() -> None:
            with contextlib.suppress(Exception):  # `create` raises the error of its own.
                async with asyncio.timeout(ABANDON_TIMEOUT_S):
                    await self._calls.delete_smelt((await creating).id)

        deleting = asyncio.create_task(delete())
        while not deleting.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([deleting])


def open_watch(client: Client, smelt_id: UUID | str) -> Watch:
    """Return the watch behind `client.watch`, for a consumer that passes its updates on to others."""
    return client._open_watch(smelt_id)


def connect(url: str, key: str, access_token: str | TokenCallable | None = None, *, polling: bool = True) -> Client:
    """Return a client of the Supabase project at `url`.

    Args:
        url: The project's URL.
        key: The anon key or a publishable key.
        access_token: The token of a signed-in user, or a function, plain or async, that returns a fresh one.
        polling: Read the state from time to time; if False, only after each join and to fill known gaps.
    """
    return Client(Project(url, key, access_token=access_token), polling=polling)
