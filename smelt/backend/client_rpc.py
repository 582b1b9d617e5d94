"""The SQL functions for clients, typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from smelt.backend.rpc import Rpc, RpcResponse, parse
from smelt.contract.batches import Batch
from smelt.contract.events import Model
from smelt.contract.state import Created, Snapshot, Unchanged
from smelt.contract.vocabulary import TERMINAL_STATUSES, Mode, Outcome, Status
from smelt.errors import NotFound

State = Snapshot | Unchanged


@dataclass(frozen=True)
class FileSpec:
    """A file that a smelt will have."""

    filename: str
    size_bytes: int


@dataclass(frozen=True)
class SeenState:
    """What a caller already has of a smelt: state up to `after_seq`, segments up to `segments_after`."""

    id: UUID
    after_seq: int | None = None
    segments_after: int | None = None


class States(Model):
    """The answer of `get_smelts`; `missing` holds those that do not exist or belong to somebody else."""

    smelts: tuple[State, ...]
    missing: tuple[UUID, ...]


class ListedFile(Model):
    """A file in a list of smelts."""

    filename: str
    position: int


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


class _ListedSmelts(RpcResponse[tuple[ListedSmelt, ...]]):
    pass


class _State(RpcResponse[State]):
    pass


@dataclass(frozen=True)
class ClientRpc:
    """What an app asks of the database; smelts of others are `NotFound`."""

    rpc: Rpc

    async def create_smelt(
        self,
        *,
        files: Sequence[FileSpec] = (),
        text_input: str | None = None,
        mode: Mode = "separate",
        default_prompt_names: Sequence[str] = (),
        user_prompt_id: UUID | str | None = None,
        batch_id: UUID | str | None = None,
        idempotency_key: str | None = None,
    ) -> Created:
        """Create a smelt; without a key of the caller's own one is made, so that a repetition creates no second one."""
        listed: list[dict[str, Any]] = [{"filename": file.filename, "size_bytes": file.size_bytes} for file in files]
        answer = await self.rpc.call(
            "create_smelt",
            files=listed,
            text_input=text_input,
            mode=mode,
            default_prompt_names=list(default_prompt_names),
            user_prompt_id=user_prompt_id,
            batch_id=batch_id,
            idempotency_key=idempotency_key or str(uuid4()),
        )
        return parse(Created, answer)

    async def submit_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Hand a smelt with all of its uploads over to the workers."""
        return parse(Snapshot, await self.rpc.call("submit_smelt", smelt_id=smelt_id))

    async def get_smelt(
        self,
        smelt_id: UUID | str,
        *,
        after_seq: int | None = None,
        segments_after: int | None = None,
        with_words: bool = False,
    ) -> State:
        """The whole state of a smelt; `Unchanged` when it is no newer than `after_seq`."""
        answer = await self.rpc.call(
            "get_smelt",
            smelt_id=smelt_id,
            after_seq=after_seq,
            segments_after=segments_after,
            with_words=with_words,
        )
        return parse(_State, answer).root

    async def get_smelts(self, smelts: Sequence[SeenState]) -> States:
        """The states of many smelts in one call; asked once, since whoever polls asks again anyway."""
        listed = [
            {"id": known.id, "after_seq": known.after_seq, "segments_after": known.segments_after} for known in smelts
        ]
        return parse(States, await self.rpc.call_once("get_smelts", smelts=listed))

    async def list_smelts(self, count: int, *, only_open: bool = False) -> tuple[ListedSmelt, ...]:
        """Return the newest smelts of the signed-in user, or of everybody for the service; others: `Unauthorized`."""
        files = "files:smelt_files(filename,position)"
        columns = f"id,user_id,status,percentage,outcome,error_code,created_at,completed_at,{files}"
        filters = [("status", "not.in", f"({','.join(sorted(TERMINAL_STATUSES))})")] if only_open else []
        return parse(_ListedSmelts, await self.rpc.newest("smelts", columns, count, *filters)).root

    async def cancel_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Settle a smelt as cancelled; what was already settled stays as it is."""
        return parse(Snapshot, await self.rpc.call("cancel_smelt", smelt_id=smelt_id))

    async def retry_smelt(self, smelt_id: UUID | str) -> Snapshot:
        """Start the next run of a failed smelt. Never repeated: a second call would meet the run of the first."""
        return parse(Snapshot, await self.rpc.call_once("retry_smelt", smelt_id=smelt_id))

    async def create_batch(self, title: str | None = None) -> Batch:
        """Create a batch; only for those who are signed in. Never repeated: it would be a second one."""
        return parse(Batch, await self.rpc.call_once("create_smelt_batch", title=title))

    async def get_batch(self, batch_id: UUID) -> Batch:
        """The state of a batch of one's own, read once."""
        row = await self.rpc.row("smelt_batches", batch_id)
        if row is None:
            raise NotFound("not_found", "There is no such batch.")
        return parse(Batch, row)

    async def delete_smelt(self, smelt_id: UUID | str) -> None:
        """Remove a smelt with everything that belongs to it."""
        await self.rpc.call("delete_smelt", smelt_id=smelt_id)
