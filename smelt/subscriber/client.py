"""The client: creates, watches and manages smelts of one project."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, overload
from uuid import UUID
from weakref import WeakSet

from smelt.backend.client_rpc import ClientRpc, FileSpec
from smelt.backend.project import Project
from smelt.backend.realtime import ConnectionState
from smelt.backend.tokens import TokenCallable
from smelt.contract.batches import Batch
from smelt.contract.state import Created, Snapshot, Unchanged
from smelt.contract.vocabulary import Mode, PromptName
from smelt.errors import RequestRejected, SmeltError, SmeltFailed, Unavailable
from smelt.subscriber.batch import BatchWatch
from smelt.subscriber.diagnostics import Diagnostics
from smelt.subscriber.feed import Feed, OnInvalidate
from smelt.subscriber.notifications import Notifications
from smelt.subscriber.reader import Reader
from smelt.subscriber.subscription import Callback, Callbacks, ConnectionCallback, Followed, Subscription
from smelt.subscriber.updates import BatchProgress, Completed, ConnectionEvent, Failed, Progress, Segments, Update
from smelt.subscriber.watch import Watch

UPLOADS_AT_ONCE: Final = 3

File = str | PathLike[str]


class Client:
    """The smelts of one project, as a user or as a visitor; an async context manager."""

    def __init__(self, project: Project, *, polling: bool = True) -> None:
        self._project = project
        self._calls = ClientRpc(project.rpc)
        self._reader = Reader(self._calls)
        self._polling = polling
        self._subscriptions: set[Subscription] = set()
        self._followers: WeakSet[Feed | Notifications | BatchWatch] = WeakSet()
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
            for follower in (*self._subscriptions, *self._followers):
                closing.push_async_callback(follower.close)

    async def create(
        self,
        *,
        files: Sequence[File] = (),
        text: str | None = None,
        prompts: Sequence[PromptName | str] = (),
        mode: Mode = "separate",
        user_prompt_id: UUID | str | None = None,
        batch_id: UUID | str | None = None,
        idempotency_key: str | None = None,
        submit: bool = True,
    ) -> Created:
        """Create a smelt and upload its files.

        Args:
            files: One to five recordings; or else pass `text`.
            text: A text to process instead of recordings.
            prompts: Names of default prompts; `summarize` if neither these nor `user_prompt_id` are given.
            mode: `separate` results for each file, or `combine` for one result.
            user_prompt_id: A prompt that the user has saved.
            batch_id: The batch that the smelt belongs to.
            idempotency_key: A repeated call with the same key returns the same smelt, and resumes an interrupted one.
            submit: Queue the smelt for the workers after the upload.

        Raises:
            RequestRejected: The request is invalid, or exceeds a limit.
            Unauthorized: The key or token is rejected.
            Unavailable: The project does not respond.
        """
        if isinstance(files, str | PathLike) or isinstance(prompts, str):
            raise TypeError("files and prompts must be lists, even with one element")
        paths = [Path(file) for file in files]
        created = await self._calls.create_smelt(
            files=await self._announced(paths),
            text_input=text,
            mode=mode,
            default_prompt_names=prompts,
            user_prompt_id=user_prompt_id,
            batch_id=batch_id,
            idempotency_key=idempotency_key,
        )
        if idempotency_key is not None and (await self.get(created.id)).submitted_at is not None:
            return created
        await self._upload(created, paths, again=idempotency_key is not None)
        if submit:
            await self.submit(created.id)
        return created

    async def submit(self, smelt_id: UUID | str) -> Snapshot:
        """Queue a smelt that was created with `submit=False` for the workers."""
        return await self._calls.submit_smelt(smelt_id)

    async def get(self, smelt_id: UUID | str, *, with_words: bool = False) -> Snapshot:
        """Return the current state of a smelt with its transcript; raise `NotFound`.

        `with_words` includes the times of words, which workers save if `SMELT_WORD_TIMES` is set.
        """
        state = await self._calls.get_smelt(smelt_id, with_words=with_words)
        if isinstance(state, Unchanged):
            raise Unavailable("unexpected response: unchanged, without a seq in the request")
        return state

    async def cancel(self, smelt_id: UUID | str) -> Snapshot:
        """Cancel a smelt: it fails with the code `cancelled`. A smelt that has ended does not change."""
        return await self._calls.cancel_smelt(smelt_id)

    async def retry(self, smelt_id: UUID | str) -> Snapshot:
        """Start the next run of a failed or partial smelt; finished transcripts are kept."""
        return await self._calls.retry_smelt(smelt_id)

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
        self._followers.add(watch)
        return watch.updates()

    def feed(self, on_invalidate: OnInvalidate | None = None) -> Feed:
        """Return the feed of the signed-in user: `async with client.feed() as feed`, then iterate over it.

        `on_invalidate` is called with the keys of cache entries that have become stale.
        """
        hooks = () if on_invalidate is None else (on_invalidate,)
        feed = Feed(self._project, polling=self._polling, on_invalidate=hooks)
        self._followers.add(feed)
        return feed

    def notifications(self) -> Notifications:
        """Return the notifications of the signed-in user: enter as an async context manager, then iterate."""
        notifications = Notifications(self._project, polling=self._polling)
        self._followers.add(notifications)
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
        return Watch(UUID(str(smelt_id)), self._project.realtime, self._reader, polling=self._polling)

    def _on_connection_state(self, state: ConnectionState) -> None:
        if state == "disconnected" and (reason := self._project.realtime.report().last_error) is not None:
            for watched in self._reader.watches:
                watched.report_issue(Unavailable(reason), live=True)

    async def _announced(self, paths: Sequence[Path]) -> list[FileSpec]:
        sizes = await asyncio.gather(*(asyncio.to_thread(path.stat) for path in paths))
        return [FileSpec(path.name, size.st_size) for path, size in zip(paths, sizes, strict=True)]

    async def _upload(self, created: Created, paths: Sequence[Path], *, again: bool) -> None:
        limit = asyncio.Semaphore(UPLOADS_AT_ONCE)

        async def upload(target: str, path: Path) -> None:
            async with limit:
                await self._upload_one(target, path, again=again)

        targets = [file.upload_path for file in created.files if file.upload_path is not None]
        uploads = [asyncio.create_task(upload(target, path)) for target, path in zip(targets, paths, strict=True)]
        try:
            await asyncio.gather(*uploads)
        except Exception:
            if not again:  # The caller never got its id and cannot resume it.
                await self._abandon(created.id)
            raise
        finally:
            for task in uploads:
                task.cancel()
            await asyncio.gather(*uploads, return_exceptions=True)

    async def _upload_one(self, target: str, path: Path, *, again: bool) -> None:
        try:
            await self._project.audio.upload(target, path)
        except RequestRejected as exc:
            if not (again and exc.code == "Duplicate"):
                raise

    async def _abandon(self, smelt_id: UUID) -> None:
        with contextlib.suppress(SmeltError):
            await self._calls.delete_smelt(smelt_id)


def connect(url: str, key: str, access_token: str | TokenCallable | None = None, *, polling: bool = True) -> Client:
    """Return a client of the Supabase project at `url`.

    Args:
        url: The project's URL.
        key: The anon key or a publishable key.
        access_token: The token of a signed-in user, or a function, plain or async, that returns a fresh one.
        polling: Read the state from time to time; if False, only after each join and to fill known gaps.
    """
    return Client(Project(url, key, access_token=access_token), polling=polling)
