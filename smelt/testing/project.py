"""A project in memory: smelts, batches and notifications, and the events of their changes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from smelt.backend.audio import AudioStore
from smelt.backend.client_rpc import ClientRpc, FileSpec, State, requested_options
from smelt.backend.project import Project
from smelt.backend.realtime import (
    Broadcast,
    ChangesOf,
    Channel,
    ChannelEvent,
    ConnectionReport,
    Joined,
    OnEvent,
    RealtimeConnection,
    RowChanged,
)
from smelt.backend.realtime.connection import StateListener
from smelt.backend.rpc import Rpc
from smelt.backend.upload_source import OnSent, UploadSource
from smelt.contract.batches import Batch, BatchStatus
from smelt.contract.channels import batch_channel, feed_channel, notifications_channel, smelt_channel
from smelt.contract.options import SmeltOptions
from smelt.contract.rows import FileRow, Notification, SmeltRow
from smelt.contract.state import Created, CreatedFile, Snapshot
from smelt.contract.vocabulary import TERMINAL_STATUSES, Mode
from smelt.errors import NotFound, RequestRejected, SmeltError, Unauthorized
from smelt.subscriber.notifications import EVENT
from smelt.testing.smelts import FakeSmelt

Row = dict[str, Any]


class FakeProject(Project):
    """The rows of one user in memory; no connection is opened."""

    def __init__(self, *, signed_in: bool) -> None:
        self.owner_id = uuid4()
        self.signed_in = signed_in
        self.smelts: dict[UUID, FakeSmelt] = {}
        self.batches: dict[UUID, Batch] = {}
        self.notifications: dict[UUID, Notification] = {}
        self.created: dict[str, Created] = {}
        self.realtime: FakeRealtime = FakeRealtime()
        self.rpc = FakeRpc(self)
        self.audio = FakeAudio()

    async def user_id(self) -> UUID:
        """Return the id of the user; raise `Unauthorized` if nobody is signed in."""
        if not self.signed_in:
            raise Unauthorized("This needs a signed-in user: FakeClient(signed_in=True).")
        return self.owner_id

    async def aclose(self) -> None:
        """Leave all channels."""
        await self.realtime.close()

    def add_smelt(self, smelt: FakeSmelt) -> None:
        """Add a smelt and publish its changes."""
        self.smelts[smelt.id] = smelt
        self._publish(smelt, "INSERT")
        smelt.on_change = lambda changed: self._publish(changed, "UPDATE")

    def find(self, smelt_id: UUID | str) -> FakeSmelt:
        """Return a smelt; raise `NotFound`."""
        if (smelt := self.smelts.get(UUID(str(smelt_id)))) is None:
            raise NotFound("not_found", "The smelt does not exist, or belongs to another user.")
        return smelt

    def remove_smelt(self, smelt_id: UUID | str) -> None:
        """Delete a smelt; an open one is cancelled first."""
        smelt = self.find(smelt_id)
        if not smelt.ended:
            smelt.fail("cancelled")
        smelt.on_change = None
        del self.smelts[smelt.id]
        self._publish(smelt, "DELETE")

    def add_notification(self, notification: Notification) -> None:
        """Store and broadcast a notification."""
        self.notifications[notification.id] = notification
        payload = notification.model_dump(mode="json")
        self.realtime.broadcast(notifications_channel(str(self.owner_id)), EVENT, payload)

    def _publish(self, smelt: FakeSmelt, kind: str) -> None:
        topic = feed_channel(str(self.owner_id))
        if kind == "DELETE":
            self.realtime.broadcast(topic, "smelts_deleted", {"ids": [str(smelt.id)]})
        else:
            rows = [("smelts", smelt_row(smelt)), *(("smelt_files", row) for row in file_rows(smelt))]
            for table, row in rows:
                self.realtime.change(topic, {"table": table, "type": kind, "record": row, "old_record": row})
        if smelt.batch_id in self.batches:
            self._count_batch(smelt.batch_id)

    def _count_batch(self, batch_id: UUID) -> None:
        batch = self.batches[batch_id] = counted(self.batches[batch_id], list(self.smelts.values()))
        payload = {**batch.model_dump(mode="json"), "batch_id": str(batch_id)}
        self.realtime.broadcast(batch_channel(str(batch_id)), "progress", payload)


def smelt_row(smelt: FakeSmelt) -> Row:
    """Return the row of the table `smelts`."""
    state = smelt.snapshot()
    about = {"percentage": state.progress.percentage, "message": state.progress.message, "estimated_end_at": None}
    return SmeltRow.model_validate({**state.model_dump(), **about}).model_dump(mode="json")


def file_rows(smelt: FakeSmelt) -> list[Row]:
    """Return the rows of the table `smelt_files`."""
    about = {"smelt_id": smelt.id, "created_at": smelt.created_at}
    files = smelt.snapshot().files
    return [FileRow.model_validate({**file.model_dump(), **about}).model_dump(mode="json") for file in files]


def counted(batch: Batch, smelts: Sequence[FakeSmelt]) -> Batch:
    """Return a batch with the next `seq` and the counts of its smelts, as in the database."""
    states = [smelt.snapshot() for smelt in smelts if smelt.batch_id == batch.id]
    statuses = [state.status for state in states]
    completed, failed = statuses.count("completed"), statuses.count("failed")
    percentages = [100.0 if state.status in TERMINAL_STATUSES else state.progress.percentage for state in states]
    status: BatchStatus = "completed" if completed else "failed"
    if statuses.count("pending") == len(statuses):
        status = "pending"
    elif completed + failed < len(statuses):
        status = "processing"
    return batch.model_copy(
        update={
            "seq": batch.seq + 1,
            "total": len(states),
            "completed": completed,
            "failed": failed,
            "progress": sum(percentages) / len(percentages) if percentages else 0.0,
            "status": status,
        }
    )


@dataclass(frozen=True)
class FakeCalls(ClientRpc):
    """The calls of an app on a project in memory."""

    project: FakeProject

    async def create_smelt(
        self,
        *,
        files: Sequence[FileSpec] = (),
        text_input: str | None = None,
        mode: Mode = "separate",
        default_prompt_names: Sequence[str] | None = None,
        user_prompt_id: UUID | str | None = None,
        batch_id: UUID | str | None = None,
        idempotency_key: str | None = None,
        options: SmeltOptions | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: UUID | str | None = None,
        submit: bool = True,
    ) -> Created:
        """Add a smelt, or return the one that was created with the same key."""
        if idempotency_key is not None and idempotency_key in self.project.created:
            return self.project.created[idempotency_key]
        fallback = () if user_prompt_id is not None else ("summarize",)
        smelt = FakeSmelt(
            *(["text"] if text_input is not None else [file.filename for file in files]),
            input_type="audio" if text_input is None else "text",
            mode=mode,
            prompts=fallback if default_prompt_names is None else tuple(default_prompt_names),
            user_prompt_id=None if user_prompt_id is None else UUID(str(user_prompt_id)),
            batch_id=None if batch_id is None else self._batch(batch_id).id,
            options=requested_options(options),
            metadata=metadata or {},
        )
        if text_input is not None and submit:
            smelt.submitted_at = smelt.created_at
        self.project.add_smelt(smelt)
        created = created_response(smelt)
        if idempotency_key is not None:
            self.project.created[idempotency_key] = created
        return created

    async def submit_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Record that the smelt is submitted."""
        smelt = self.project.find(smelt_id)
        smelt.submitted_at = smelt.submitted_at or datetime.now(UTC)
        return smelt.snapshot()

    async def get_smelt(
        self,
        smelt_id: UUID | str,
        *,
        after_seq: int | None = None,
        segments_after: int | None = None,
        with_words: bool = False,
    ) -> State:
        """Return the state of a smelt."""
        return self.project.find(smelt_id).snapshot()

    async def cancel_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Fail a smelt with the code `cancelled`. A smelt that has ended does not change."""
        smelt = self.project.find(smelt_id)
        if not smelt.ended:
            smelt.fail("cancelled")
        return smelt.snapshot()

    async def retry_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Start the next run of a failed or partial smelt; any other does not change."""
        smelt = self.project.find(smelt_id)
        state = smelt.snapshot()
        if state.status == "failed" or state.outcome == "partial":
            smelt.restart()
        return smelt.snapshot()

    async def rename_speaker(
        self, smelt_id: UUID | str, speaker: str, name: str, *, file_id: UUID | str | None = None
    ) -> Snapshot:
        """Name a speaker; raise `RequestRejected` if no segment has it."""
        smelt = self.project.find(smelt_id)
        if not smelt.rename_speaker(speaker, name, None if file_id is None else UUID(str(file_id))):
            raise RequestRejected("speaker_not_found", "No finished transcript has a speaker with this label.")
        return smelt.snapshot()

    async def delete_smelt(self, smelt_id: UUID | str) -> None:
        """Delete a smelt."""
        self.project.remove_smelt(smelt_id)

    async def create_batch(self, title: str | None = None) -> Batch:
        """Add an empty batch."""
        empty = {"total": 0, "completed": 0, "failed": 0, "progress": 0.0, "status": "pending", "seq": 1}
        batch = Batch.model_validate({"id": uuid4(), "title": title, "created_at": datetime.now(UTC), **empty})
        self.project.batches[batch.id] = batch
        return batch

    async def get_batch(self, batch_id: UUID) -> Batch:
        """Return a batch; raise `NotFound`."""
        return self._batch(batch_id)

    def _batch(self, batch_id: UUID | str) -> Batch:
        if (batch := self.project.batches.get(UUID(str(batch_id)))) is None:
            raise NotFound("not_found", "The batch does not exist, or belongs to another user.")
        return batch


def created_response(smelt: FakeSmelt) -> Created:
    """Return the response of `create_smelt`."""
    state = smelt.snapshot()
    files = tuple(
        CreatedFile(
            **file.model_dump(include={"id", "filename", "size_bytes", "input_type", "position", "status"}),
            upload_path=f"{smelt.id}/{file.id}/{file.filename}" if file.input_type == "audio" else None,
        )
        for file in state.files
    )
    return Created.model_validate(
        {**state.model_dump(), "files": files, "subscription_channel": smelt_channel(str(smelt.id))}
    )


class FakeAudio(AudioStore):
    """A bucket that keeps nothing."""

    def __init__(self) -> None:
        pass

    async def upload(self, path: str, file: UploadSource | Path, *, on_sent: OnSent | None = None) -> None:
        """Upload nothing."""


class FakeRpc(Rpc):
    """The rows of a project in memory."""

    def __init__(self, project: FakeProject) -> None:
        self._project = project

    async def rows(self, table: str, *filters: tuple[str, str, str]) -> list[object]:
        """Return the rows of a table; of notifications only the unread ones."""
        match table:
            case "smelts":
                return [smelt_row(smelt) for smelt in list(self._project.smelts.values())]
            case "smelt_files":
                return [row for smelt in list(self._project.smelts.values()) for row in file_rows(smelt)]
            case _:
                notifications = list(self._project.notifications.values())
                return [one.model_dump(mode="json") for one in notifications if one.read_at is None]

    async def update(self, table: str, values: Mapping[str, object], *filters: tuple[str, str, str]) -> int:
        """Mark the notifications that are not marked yet; return how many were marked."""
        ids = {UUID(one) for column, _, listed in filters if column == "id" for one in listed.strip("()").split(",")}
        found = [one for one in list(self._project.notifications.values()) if one.id in ids]
        fresh = [one for one in found if any(getattr(one, column) is None for column in values)]
        now = datetime.now(UTC)
        for one in fresh:
            self._project.notifications[one.id] = one.model_copy(update=dict.fromkeys(values, now))
        return len(fresh)


class FakeRealtime(RealtimeConnection):
    """Channels in memory, always joined; events may be emitted from any thread."""

    def __init__(self) -> None:
        self._fake_channels: list[FakeChannel] = []

    def add_state_listener(self, listener: StateListener) -> Callable[[], None]:
        """Ignore the listener: the state never changes."""
        return lambda: None

    def report(self) -> ConnectionReport:
        """Return a healthy connection."""
        count = len(self._fake_channels)
        return ConnectionReport("connected", min(count, 1), count, count, 0, 0, None)

    async def join(self, topic: str, on_event: OnEvent | None = None, *, changes: Sequence[ChangesOf] = ()) -> Channel:
        """Join a channel at once."""
        channel = FakeChannel(topic, on_event, self._fake_channels.remove)
        self._fake_channels.append(channel)
        channel.deliver(Joined())
        return channel

    async def close(self) -> None:
        """Leave all channels."""
        for channel in list(self._fake_channels):
            await channel.leave()

    def broadcast(self, topic: str, event: str, payload: Row) -> None:
        """Deliver a broadcast to all channels of a topic."""
        self._deliver(topic, Broadcast(event, payload))

    def change(self, topic: str, change: Row) -> None:
        """Deliver a row change to all channels of a topic."""
        self._deliver(topic, RowChanged(change))

    def _deliver(self, topic: str, event: ChannelEvent) -> None:
        for channel in list(self._fake_channels):
            if channel.topic == topic:
                channel.loop.call_soon_threadsafe(channel.deliver, event)


class FakeChannel(Channel):
    """A channel that is joined until it is left."""

    def __init__(self, topic: str, on_event: OnEvent | None, on_leave: "Callable[[FakeChannel], None]") -> None:
        self.topic = topic
        self.loop = asyncio.get_running_loop()
        self._on_event = on_event
        self._on_leave: Callable[[FakeChannel], None] | None = on_leave

    @property
    def joined(self) -> bool:
        """True until it is left."""
        return self._on_leave is not None

    @property
    def error(self) -> SmeltError | None:
        """Always None."""
        return None

    @property
    def rejoin_count(self) -> int:
        """Always 0."""
        return 0

    async def leave(self) -> None:
        """Leave the channel; a second call does nothing."""
        if self._on_leave is not None:
            self._on_leave(self)
        self._on_leave = None
        self._on_event = None
