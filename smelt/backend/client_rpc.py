"""Typed calls of the SQL functions for clients."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from smelt.backend.retries import transient_retries
from smelt.backend.rpc import Cursor, Rpc, RpcResponse, parse
from smelt.contract.batches import Batch
from smelt.contract.events import Model
from smelt.contract.options import SmeltOptions
from smelt.contract.rows import FileRow, Notification, SmeltRow
from smelt.contract.state import Created, Snapshot, Trust, Unchanged
from smelt.contract.vocabulary import Mode, Outcome, Status
from smelt.errors import NotFound

State = Snapshot | Unchanged

IDS_PER_CALL: Final = 100
_UNREAD: Final = ("read_at", "is", "null")


@dataclass(frozen=True)
class FileSpec:
    """A file to announce when a smelt is created."""

    filename: str
    size_bytes: int


@dataclass(frozen=True)
class SeenState:
    """The part of a smelt that the caller already has: state up to `after_seq`, segments up to `segments_after`."""

    id: UUID
    after_seq: int | None = None
    segments_after: int | None = None


class States(Model):
    """The response of `get_smelts`; `missing` contains ids that do not exist or belong to another user."""

    smelts: tuple[State, ...]
    missing: tuple[UUID, ...]


class ListedFile(Model):
    """A file of a smelt in a list."""

    filename: str
    position: int
    trust: Trust | None = None


class ListedSmelt(Model):
    """A smelt in a list, without its transcript and results."""

    id: UUID
    user_id: UUID | None
    status: Status
    percentage: float
    outcome: Outcome | None
    error_code: str | None
    created_at: datetime
    completed_at: datetime | None
    files: tuple[ListedFile, ...]


class TrustedFileRow(FileRow):
    """A row of `smelt_files`, with what readers of its transcript should know."""

    trust: Trust | None


class SmeltWithFiles(SmeltRow):
    """A row of `smelts` with its files; `user_id` is None for a smelt of a visitor."""

    user_id: UUID | None
    files: tuple[TrustedFileRow, ...]


class _ListedSmelts(RpcResponse[tuple[ListedSmelt, ...]]):
    pass


class _SmeltsWithFiles(RpcResponse[tuple[SmeltWithFiles, ...]]):
    pass


class _Models(RpcResponse[tuple[str, ...]]):
    pass


class _Notifications(RpcResponse[tuple[Notification, ...]]):
    pass


class _State(RpcResponse[State]):
    pass


@dataclass(frozen=True)
class ClientRpc:
    """Calls of an app; smelts of other users raise `NotFound`."""

    rpc: Rpc

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
        """Create a smelt; without an `idempotency_key`, a random one makes retries safe."""
        listed: list[dict[str, Any]] = [{"filename": file.filename, "size_bytes": file.size_bytes} for file in files]
        response = await self.rpc.call(
            "create_smelt",
            files=listed,
            text_input=text_input,
            mode=mode,
            default_prompt_names=None if default_prompt_names is None else list(default_prompt_names),
            user_prompt_id=user_prompt_id,
            batch_id=batch_id,
            idempotency_key=idempotency_key or str(uuid4()),
            options=requested_options(options) or None,
            metadata=metadata or None,
            user_id=user_id,
            submit=None if submit else False,
        )
        return parse(Created, response)

    async def submit_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Queue a smelt for the workers once all of its files are uploaded."""
        return parse(Snapshot, await self.rpc.call("submit_smelt", smelt_id=smelt_id))

    async def get_smelt(
        self,
        smelt_id: UUID | str,
        *,
        after_seq: int | None = None,
        segments_after: int | None = None,
        with_words: bool = False,
    ) -> State:
        """Return the state of a smelt, or `Unchanged` if it is not newer than `after_seq`."""
        response = await self.rpc.call(
            "get_smelt",
            smelt_id=smelt_id,
            after_seq=after_seq,
            segments_after=segments_after,
            with_words=with_words,
        )
        return parse(_State, response).root

    async def get_smelts(self, smelts: Sequence[SeenState]) -> States:
        """Return the states of many smelts in one call. Not retried: a polling caller calls again anyway."""
        listed = [
            {"id": seen.id, "after_seq": seen.after_seq, "segments_after": seen.segments_after} for seen in smelts
        ]
        return parse(States, await self.rpc.call_once("get_smelts", smelts=listed))

    async def list_smelts(
        self, count: int, *, statuses: Collection[Status] = (), before: Cursor | None = None
    ) -> tuple[ListedSmelt, ...]:
        """Return the newest smelts of the signed-in user, of all users for the service; else raise `Unauthorized`.

        Args:
            count: The maximum number of smelts.
            statuses: List only smelts with one of these statuses; all if empty.
            before: The position of the last smelt of the page before.
        """
        files = "files:smelt_files(filename,position,trust)"
        columns = f"id,user_id,status,percentage,outcome,error_code,created_at,completed_at,{files}"
        rows = await self.rpc.newest("smelts", columns, count, *_with_status(statuses), before=before)
        return parse(_ListedSmelts, rows).root

    async def list_rows(
        self,
        count: int,
        *,
        statuses: Collection[Status] = (),
        batch_id: UUID | None = None,
        before: Cursor | None = None,
    ) -> tuple[SmeltWithFiles, ...]:
        """Return smelts as `list_smelts` does, with all of their columns, and optionally those of one batch alone."""
        filters = [*_with_status(statuses), *([] if batch_id is None else [("batch_id", "eq", str(batch_id))])]
        rows = await self.rpc.newest("smelts", "*,files:smelt_files(*)", count, *filters, before=before)
        return parse(_SmeltsWithFiles, rows).root

    async def count_smelts(self, statuses: Collection[Status]) -> int:
        """Return the number of smelts with one of these statuses, of the signed-in user."""
        return await self.rpc.count("smelts", *_with_status(statuses))

    async def list_notifications(
        self, count: int, *, only_unread: bool = False, before: Cursor | None = None
    ) -> tuple[Notification, ...]:
        """Return the newest notifications of the signed-in user; else raise `Unauthorized`."""
        filters = [_UNREAD] if only_unread else []
        return parse(
            _Notifications, await self.rpc.newest("smelt_notifications", "*", count, *filters, before=before)
        ).root

    async def count_unread(self) -> int:
        """Return the number of unread notifications of the signed-in user."""
        return await self.rpc.count("smelt_notifications", _UNREAD)

    async def mark_notifications(self, column: Literal["seen_at", "read_at"], ids: Sequence[UUID]) -> int:
        """Mark notifications as seen or read; return how many were not."""
        marked = 0
        for start in range(0, len(ids), IDS_PER_CALL):
            some = ",".join(str(one) for one in ids[start : start + IDS_PER_CALL])
            # Postgres evaluates 'now' by the server's clock.
            marked += await self.rpc.update(
                "smelt_notifications", {column: "now"}, ("id", "in", f"({some})"), (column, "is", "null")
            )
        return marked

    async def cancel_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Settle a smelt as cancelled; a smelt that is already settled does not change."""
        return parse(Snapshot, await self.rpc.call("cancel_smelt", smelt_id=smelt_id))

    async def retry_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Start the next run of a failed or partial smelt. Not retried: a second call would find the new run."""
        return parse(Snapshot, await self.rpc.call_once("retry_smelt", smelt_id=smelt_id))

    async def rename_speaker(
        self, smelt_id: UUID | str, speaker: str, name: str, *, file_id: UUID | str | None = None
    ) -> Snapshot:
        """Name a speaker in the finished transcripts of a smelt, or of one file."""
        response = await self.rpc.call(
            "rename_smelt_speaker", smelt_id=smelt_id, speaker=speaker, name=name, file_id=file_id
        )
        return parse(Snapshot, response)

    async def get_models(self) -> tuple[str, ...]:
        """Return the names of the models that live workers have; for signed-in users and the service."""
        return parse(_Models, await self.rpc.call("get_smelt_models")).root

    async def create_batch(self, title: str | None = None) -> Batch:
        """Create a batch of the signed-in user. Not retried: a second call would create a second batch."""
        return parse(Batch, await self.rpc.call_once("create_smelt_batch", title=title))

    async def get_batch(self, batch_id: UUID) -> Batch:
        """Return a batch of the signed-in user; not retried. Raise `NotFound` if it does not exist."""
        row = await self.rpc.row("smelt_batches", batch_id)
        if row is None:
            raise NotFound("not_found", "The batch does not exist, or belongs to another user.")
        return parse(Batch, row)

    async def delete_smelt(self, smelt_id: UUID | str) -> None:
        """Delete a smelt with its files, transcripts and results; raise `NotFound` if there is none."""
        async for attempt in transient_retries():
            with attempt:
                try:
                    await self.rpc.call_once("delete_smelt", smelt_id=smelt_id)
                except NotFound:
                    # An earlier attempt may have deleted it, and only its response was lost.
                    if attempt.retry_state.attempt_number == 1:
                        raise


def requested_options(options: SmeltOptions | None) -> dict[str, Any]:
    """Return the options that do not have their default value."""
    return {} if options is None else options.model_dump(mode="json", exclude_defaults=True)


def _with_status(statuses: Collection[Status]) -> list[tuple[str, str, str]]:
    return [("status", "in", f"({','.join(sorted(statuses))})")] if statuses else []
