"""The SQL functions for workers, typed; all are fenced by `(smelt_id, attempt)` and safe to repeat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from smelt.backend.rpc import Rpc, RpcResponse, parse
from smelt.contract.events import Model, Result
from smelt.contract.vocabulary import ErrorCode, Status
from smelt.contract.work import ClaimBatch, LeaseRenewal, OutboxMessage, Report, SavedSegment, Settled


class ExpiredObject(Model):
    """An object that Storage should remove."""

    path: str
    smelt_id: UUID


class Expired(Model):
    """The answer of `list_expired_smelts`: objects to remove, then what to confirm."""

    objects: tuple[ExpiredObject, ...]
    smelts: tuple[UUID, ...]


class Health(Model):
    """The answer of `get_smelt_health`: counts, ages in seconds, and the database's own clock.

    `migrations` holds the versions in the project's history, None where it has none.
    """

    now: datetime
    # 0 for a schema from before it had a version.
    schema_version: int = 0
    schema_compatible_from: int = 0
    migrations: tuple[str, ...] | None
    max_file_bytes: int
    waiting: int
    oldest_waiting_s: float
    running: int
    unsent: int
    oldest_unsent_s: float
    workers: int


class _LeaseRenewals(Model):
    leases: tuple[LeaseRenewal, ...]


class _SettledCount(Model):
    settled: int


class PurgeFailure(Model):
    """A smelt that could not be purged; it is listed again an hour later."""

    smelt_id: UUID
    error: str


class Purged(Model):
    """The answer of `confirm_smelts_purged`: how many paths are gone and smelts are done with, and which smelts can't go."""

    purged: int
    failed: tuple[PurgeFailure, ...]


class _SavedSegments(RpcResponse[tuple[SavedSegment, ...]]):
    pass


class _Outbox(RpcResponse[tuple[OutboxMessage, ...]]):
    pass


@dataclass(frozen=True)
class WorkerRpc:
    """What a worker asks of the database; the key has to be the service role's."""

    rpc: Rpc

    async def claim_smelts(self, worker_id: str, *, max_count: int = 1, lease_s: int = 30) -> ClaimBatch:
        """Take up to `max_count` due smelts for `lease_s` seconds."""
        answer = await self.rpc.call("claim_smelts", worker_id=worker_id, max_count=max_count, lease_s=lease_s)
        return parse(ClaimBatch, answer)

    async def report_progress(
        self,
        smelt_id: UUID,
        attempt: int,
        *,
        status: Status | None = None,
        percentage: float | None = None,
        message: str | None = None,
        eta_seconds: float | None = None,
        files: Sequence[Mapping[str, Any]] = (),
        segments: Sequence[Mapping[str, Any]] = (),
        lease_s: int = 30,
    ) -> Report:
        """Write how far a smelt is and renew its lease; `event` of the answer is what to broadcast."""
        answer = await self.rpc.call(
            "report_smelt_progress",
            smelt_id=smelt_id,
            attempt=attempt,
            status=status,
            percentage=percentage,
            message=message,
            eta_seconds=eta_seconds,
            files=list(files),
            segments=list(segments),
            lease_s=lease_s,
        )
        return parse(Report, answer)

    async def renew_leases(
        self, worker_id: str, leases: Sequence[tuple[UUID, int, bool]], *, lease_s: int = 30
    ) -> tuple[LeaseRenewal, ...]:
        """Renew the leases of many smelts, given as `(smelt_id, attempt, waits)`, in one call."""
        listed = [{"smelt_id": smelt_id, "attempt": attempt, "waits": waits} for smelt_id, attempt, waits in leases]
        answer = await self.rpc.call("renew_smelt_leases", worker_id=worker_id, leases=listed, lease_s=lease_s)
        return parse(_LeaseRenewals, answer).leases

    async def complete_smelt(self, smelt_id: UUID, attempt: int, results: Sequence[Result]) -> Settled:
        """Settle a smelt as completed; a repeat gets the first answer."""
        listed = [result.model_dump(mode="json") for result in results]
        answer = await self.rpc.call("complete_smelt", smelt_id=smelt_id, attempt=attempt, results=listed)
        return parse(Settled, answer)

    async def fail_smelt(
        self,
        smelt_id: UUID,
        attempt: int,
        error_code: ErrorCode,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
    ) -> Settled:
        """Settle a smelt as failed, or give it back for another try when the failure is transient."""
        answer = await self.rpc.call(
            "fail_smelt",
            smelt_id=smelt_id,
            attempt=attempt,
            error_code=error_code,
            transient=transient,
            retry_after_s=retry_after_s,
        )
        return parse(Settled, answer)

    async def release_smelt(self, smelt_id: UUID, attempt: int) -> Settled:
        """Give a smelt back unfinished; no failure is counted."""
        answer = await self.rpc.call("release_smelt", smelt_id=smelt_id, attempt=attempt)
        return parse(Settled, answer)

    async def load_segments(self, smelt_id: UUID, file_id: UUID) -> tuple[SavedSegment, ...]:
        """What earlier attempts saved of a file, ordered by index."""
        answer = await self.rpc.call("load_smelt_segments", smelt_id=smelt_id, file_id=file_id)
        return parse(_SavedSegments, answer).root

    async def claim_outbox(
        self, worker_id: str, *, max_count: int = 20, smelt_id: UUID | None = None, lease_s: int = 15
    ) -> tuple[OutboxMessage, ...]:
        """Lease broadcasts that are still owed: those of one smelt at once, otherwise those that others left."""
        answer = await self.rpc.call(
            "claim_smelt_outbox", worker_id=worker_id, max_count=max_count, smelt_id=smelt_id, lease_s=lease_s
        )
        return parse(_Outbox, answer).root

    async def settle_outbox(self, ids: Sequence[int]) -> int:
        """Strike acknowledged broadcasts off; answers how many."""
        return parse(_SettledCount, await self.rpc.call("settle_smelt_outbox", ids=list(ids))).settled

    async def list_expired(self, worker_id: str, *, max_count: int = 100, lease_s: int = 30) -> Expired:
        """Objects and smelts whose time is over; the objects are marked so that a retry no longer counts on them.

        Whoever gets a list goes on until it is empty; for other workers it is empty until then, or for `lease_s`.
        """
        answer = await self.rpc.call("list_expired_smelts", worker_id=worker_id, max_count=max_count, lease_s=lease_s)
        return parse(Expired, answer)

    async def confirm_purged(self, paths: Sequence[str], smelt_ids: Sequence[UUID]) -> Purged:
        """Confirm that objects are gone from Storage; the smelts that could not go are in the answer."""
        answer = await self.rpc.call("confirm_smelts_purged", paths=list(paths), smelt_ids=list(smelt_ids))
        return parse(Purged, answer)

    async def heartbeat_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """Tell that a worker lives, and what it does."""
        await self.rpc.call("heartbeat_smelt_worker", worker_id=worker_id, info=dict(info))

    async def remove_worker(self, worker_id: str) -> None:
        """Tell that a worker leaves; asked once."""
        await self.rpc.call_once("heartbeat_smelt_worker", worker_id=worker_id, info={}, leaving=True)

    async def get_health(self) -> Health:
        """How the project stands: what waits, what is owed, who is there; asked once."""
        return parse(Health, await self.rpc.call_once("get_smelt_health"))
