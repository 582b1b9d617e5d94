"""Typed calls of the SQL functions for workers; calls about a smelt are fenced by `(smelt_id, attempt)`.

All of them may be repeated safely; a claim needs a token for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from smelt.backend.rpc import Rpc, RpcResponse, parse
from smelt.contract.events import Model, Output, Result
from smelt.contract.schema_version import schema_issue
from smelt.contract.vocabulary import ErrorCode, Status
from smelt.contract.work import (
    ClaimBatch,
    DispatchReport,
    DispatchVerdict,
    LeaseRenewal,
    OutboxMessage,
    Report,
    Risk,
    SavedSegment,
    Settled,
    SmeltAttempts,
    Verdict,
)
from smelt.errors import NotFound, SettingsError


class ExpiredObject(Model):
    """An object to remove from Storage."""

    path: str
    smelt_id: UUID


class Expired(Model):
    """The response of `list_expired_smelts`: objects to remove from Storage, and smelts to confirm after that."""

    objects: tuple[ExpiredObject, ...]
    smelts: tuple[UUID, ...]


MAX_WAITING_COUNT: Final = 1000
"""Waiting smelts are counted up to this number."""


class SchemaVersion(Model):
    """The version of the project's schema, and the lowest one that a worker may be made for.

    Both are 0 for a schema from before it had a version.
    """

    schema_version: int = 0
    schema_compatible_from: int = 0

    def require_compatible(self) -> None:
        """Raise `SettingsError`, which names the side to update, if this installation cannot work with the schema."""
        if issue := schema_issue(self.schema_version, self.schema_compatible_from):
            raise SettingsError(f"{issue.observed}; {issue.remedy}")


class Health(SchemaVersion):
    """The response of `get_smelt_health`: counts, ages in seconds, and the database's clock.

    `migrations` contains the versions in the project's migration history, None if it has no history. `unsent`
    counts the rows of the outbox that are not sent yet. `waiting` is at most 1001, which means more than 1,000
    (`MAX_WAITING_COUNT`). `suspended` counts the workers that claim nothing, since their
    model fails on their machine. `missing_partition` is the partition of `realtime.messages` that Realtime has not
    created for today. `client_ip_header` is the header that identifies visitors; None before it existed.
    """

    now: datetime
    migrations: tuple[str, ...] | None
    missing_partition: str | None = None
    max_file_bytes: int
    client_ip_header: str | None = None
    waiting: int
    oldest_waiting_s: float
    running: int
    unsent: int
    oldest_unsent_s: float
    workers: int
    suspended: int = 0


class _LeaseRenewals(Model):
    leases: tuple[LeaseRenewal, ...]


class _SettledCount(Model):
    settled: int


class PurgeFailure(Model):
    """A smelt that could not be purged; it is listed again an hour later."""

    smelt_id: UUID
    error: str


class Purged(Model):
    """The response of `confirm_smelts_purged`.

    `purged` counts confirmed paths and purged smelts; `failed` lists smelts that could not be purged.
    """

    purged: int
    failed: tuple[PurgeFailure, ...]


class _SavedSegments(RpcResponse[tuple[SavedSegment, ...]]):
    pass


class _Outbox(RpcResponse[tuple[OutboxMessage, ...]]):
    pass


@dataclass(frozen=True)
class WorkerRpc:
    """Calls of a worker; they need the project's secret key."""

    rpc: Rpc

    async def claim_smelts(
        self,
        worker_id: str,
        *,
        claim_token: UUID | None = None,
        max_count: int = 1,
        lease_s: int = 30,
        expired_leases: bool = True,
        host: str | None = None,
        models: Sequence[str] = (),
    ) -> ClaimBatch:
        """Claim up to `max_count` due smelts under a lease of `lease_s` seconds.

        Args:
            worker_id: The worker that claims.
            claim_token: A repetition with this token returns the same claims; by default, a new one.
            max_count: Upper limit; 0 claims nothing.
            lease_s: Seconds until the leases expire.
            expired_leases: False to leave expired leases to their workers, after an outage.
            host: The machine of the worker.
            models: The names of the models that the worker has; a smelt that names another one is left to others.
        """
        response = await self.rpc.call(
            "claim_smelts",
            worker_id=worker_id,
            claim_token=claim_token or uuid4(),
            max_count=max_count,
            lease_s=lease_s,
            expired_leases=expired_leases,
            host=host,
            models=list(models),
        )
        return parse(ClaimBatch, response)

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
        outputs: Sequence[Output] = (),
        risk: Risk | None = None,
        lease_s: int = 30,
    ) -> Report:
        """Save the progress of a smelt and renew its lease; `event` of the response is to be broadcast.

        If the lease expires while it has a `risk`, a failure is counted.
        """
        response = await self.rpc.call(
            "report_smelt_progress",
            smelt_id=smelt_id,
            attempt=attempt,
            status=status,
            percentage=percentage,
            message=message,
            eta_seconds=eta_seconds,
            files=list(files),
            segments=list(segments),
            outputs=[output.model_dump(mode="json") for output in outputs],
            risk=risk,
            lease_s=lease_s,
        )
        return parse(Report, response)

    async def renew_leases(
        self, worker_id: str, leases: Sequence[tuple[UUID, int]], *, lease_s: int = 30
    ) -> tuple[LeaseRenewal, ...]:
        """Renew the leases of many smelts in one call.

        Args:
            worker_id: The worker that holds them.
            leases: Each a smelt id and an attempt.
            lease_s: Seconds from now until they expire.
        """
        listed = [{"smelt_id": smelt_id, "attempt": attempt} for smelt_id, attempt in leases]
        response = await self.rpc.call("renew_smelt_leases", worker_id=worker_id, leases=listed, lease_s=lease_s)
        return parse(_LeaseRenewals, response).leases

    async def complete_smelt(self, smelt_id: UUID, attempt: int, results: Sequence[Result]) -> Settled:
        """Settle a smelt as completed; a repeated call returns the first result."""
        listed = [result.model_dump(mode="json") for result in results]
        response = await self.rpc.call("complete_smelt", smelt_id=smelt_id, attempt=attempt, results=listed)
        return parse(Settled, response)

    async def fail_smelt(
        self,
        smelt_id: UUID,
        attempt: int,
        error_code: ErrorCode,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
        reason: str | None = None,
    ) -> Settled:
        """Settle a smelt as failed, or return it to the queue if the failure is transient.

        `reason` is for the operator.
        """
        response = await self.rpc.call(
            "fail_smelt",
            smelt_id=smelt_id,
            attempt=attempt,
            error_code=error_code,
            transient=transient,
            retry_after_s=retry_after_s,
            reason=reason,
        )
        return parse(Settled, response)

    async def release_smelt(
        self,
        smelt_id: UUID,
        attempt: int,
        *,
        counts: bool = False,
        reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> Settled:
        """Return an unfinished smelt to the queue: at once or after `retry_after_s`, or if it `counts`, after a delay.

        It counts as a failure if work on its file was killed, which proves nothing about the file; at the limit of
        failures the smelt is settled. `reason` is for the operator.
        """
        response = await self.rpc.call(
            "release_smelt",
            smelt_id=smelt_id,
            attempt=attempt,
            counts=counts,
            reason=reason,
            retry_after_s=retry_after_s,
        )
        return parse(Settled, response)

    async def dispatch_smelt(self, smelt_id: UUID, attempt: int, *, lease_s: int) -> Verdict:
        """Hand an attempt over to an external service, whose callbacks renew the lease from now on."""
        response = await self.rpc.call("dispatch_smelt", smelt_id=smelt_id, attempt=attempt, lease_s=lease_s)
        return parse(DispatchVerdict, response).verdict

    async def report_dispatched(
        self, smelt_id: UUID, attempt: int, report: Mapping[str, Any], *, lease_s: int
    ) -> DispatchReport:
        """Save a callback of an external service and renew its lease; `event` of the response is to be broadcast.

        Raises `RequestRejected` if its segments do not continue the saved ones.
        """
        response = await self.rpc.call(
            "report_dispatched_smelt", smelt_id=smelt_id, attempt=attempt, report=dict(report), lease_s=lease_s
        )
        return parse(DispatchReport, response)

    async def get_attempts(self, smelt_id: UUID) -> SmeltAttempts:
        """Return the attempts of a smelt; raise `NotFound` for an unknown one; not retried."""
        response = await self.rpc.call_once("get_smelt_attempts", smelt_id=smelt_id)
        if response is None:
            raise NotFound("not_found", f"The smelt {smelt_id} does not exist.")
        return parse(SmeltAttempts, response)

    async def load_segments(self, smelt_id: UUID, file_id: UUID) -> tuple[SavedSegment, ...]:
        """Return the segments of a file that earlier attempts saved, ordered by index."""
        response = await self.rpc.call("load_smelt_segments", smelt_id=smelt_id, file_id=file_id)
        return parse(_SavedSegments, response).root

    async def claim_outbox(
        self, worker_id: str, *, max_count: int = 20, smelt_id: UUID | None = None, lease_s: int = 15
    ) -> tuple[OutboxMessage, ...]:
        """Claim unsent rows of the outbox: all of one smelt, or else those that other workers left unsent."""
        response = await self.rpc.call(
            "claim_smelt_outbox", worker_id=worker_id, max_count=max_count, smelt_id=smelt_id, lease_s=lease_s
        )
        return parse(_Outbox, response).root

    async def settle_outbox(self, ids: Sequence[int]) -> int:
        """Remove acknowledged rows from the outbox; return how many."""
        return parse(_SettledCount, await self.rpc.call("settle_smelt_outbox", ids=list(ids))).settled

    async def list_expired(self, worker_id: str, *, max_count: int = 100, lease_s: int = 30) -> Expired:
        """List objects and smelts whose retention is over, and mark the objects as unavailable to `retry_smelt`.

        The caller holds the janitor lease: it purges until the list is empty. Other workers get an empty list until
        then, or for `lease_s`.
        """
        response = await self.rpc.call("list_expired_smelts", worker_id=worker_id, max_count=max_count, lease_s=lease_s)
        return parse(Expired, response)

    async def confirm_purged(self, paths: Sequence[str], smelt_ids: Sequence[UUID]) -> Purged:
        """Confirm that objects were removed from Storage, and purge the smelts."""
        response = await self.rpc.call("confirm_smelts_purged", paths=list(paths), smelt_ids=list(smelt_ids))
        return parse(Purged, response)

    async def heartbeat_worker(
        self, worker_id: str, info: Mapping[str, Any], *, host: str | None = None
    ) -> SchemaVersion:
        """Record a heartbeat of a worker with its current state and its machine; return the version of the schema."""
        response = await self.rpc.call("heartbeat_smelt_worker", worker_id=worker_id, info=dict(info), host=host)
        return parse(SchemaVersion, response)

    async def remove_worker(self, worker_id: str) -> None:
        """Remove the row of a worker that exits; not retried."""
        await self.rpc.call_once("heartbeat_smelt_worker", worker_id=worker_id, info={}, leaving=True)

    async def get_health(self) -> Health:
        """Return the state of queue, outbox and workers; not retried."""
        return parse(Health, await self.rpc.call_once("get_smelt_health"))
