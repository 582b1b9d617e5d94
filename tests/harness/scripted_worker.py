"""A worker whose calls and broadcasts a test makes one at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from smelt.backend.project import Project
from smelt.backend.retries import transient_retries
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import smelt_channel
from smelt.contract.events import Result
from smelt.contract.rows import FileRow, Notification, SmeltRow
from smelt.contract.vocabulary import ErrorCode, Status
from smelt.contract.work import Claim, Settled


class ScriptedWorker:
    """Claims smelts and reads rows through the same functions as a worker."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.calls = WorkerRpc(project.rpc)
        self._claims: dict[UUID, Claim] = {}
        self._claiming = asyncio.Lock()

    async def claim(self, smelt_id: UUID, *, models: Sequence[str] = ()) -> "Job":
        """Claim a smelt as soon as it is due; all other due smelts are claimed as well and kept for later calls."""
        async with asyncio.timeout(30), self._claiming:
            while smelt_id not in self._claims:
                claims = await self.calls.claim_smelts("scripted", max_count=100, lease_s=600, models=models)
                self._claims |= {claim.id: claim for claim in claims.smelts}
        return Job(self._project, self.calls, self._claims.pop(smelt_id))

    async def rows_of_user(self, user_id: UUID) -> tuple[dict[UUID, SmeltRow | FileRow], list[Notification]]:
        """Return the smelts and files of a user by id, and the notifications."""
        smelts = [SmeltRow.model_validate(row) for row in await self._rows("smelts", user_id)]
        files = [FileRow.model_validate(row) for row in await self._rows("smelt_files", user_id)]
        notifications = [Notification.model_validate(row) for row in await self._rows("smelt_notifications", user_id)]
        return {row.id: row for row in (*smelts, *files)}, notifications

    async def _rows(self, table: str, user_id: UUID) -> list[object]:
        async for attempt in transient_retries():
            with attempt:
                return await self._project.rpc.rows(table, ("user_id", "eq", str(user_id)))
        raise AssertionError("unreachable: the last error is raised")


class Job:
    """A claimed smelt."""

    def __init__(self, project: Project, calls: WorkerRpc, claim: Claim) -> None:
        self.claim = claim
        self._project = project
        self._calls = calls
        self._topic = smelt_channel(str(claim.id))

    async def report(
        self,
        status: Status,
        percentage: float,
        *,
        words: Sequence[str] = (),
        first: int = 0,
        speaker: str | None = None,
        files: Sequence[Mapping[str, Any]] = (),
        broadcast: bool = True,
    ) -> None:
        """Report progress, and a segment of the first file for each word from the index `first`; broadcast both.

        `files` has the format of `report_smelt_progress`.
        """
        file_id = self.claim.files[0].id
        segments: list[dict[str, Any]] = [
            {"index": first + place, "start": place, "end": place + 1, "text": word, "speaker": speaker}
            for place, word in enumerate(words)
        ]
        report = await self._calls.report_progress(
            self.claim.id,
            self.claim.attempt,
            status=status,
            percentage=percentage,
            files=files,
            segments=[{"file_id": str(file_id), **segment} for segment in segments],
            lease_s=600,
        )
        if report.event is None or not broadcast:
            return
        payload = report.event.model_dump(mode="json")
        payload["segments"] = [{"file_id": str(file_id), **segment} for segment in segments]
        await self._project.realtime.post(self._topic, "progress", payload)

    async def complete(self, content: str = "notes", *, broadcast: bool = True) -> Settled:
        """Settle as completed with one result for each file, and broadcast the outbox."""
        results = [Result(file_id=file.id, filename=file.filename, content=content) for file in self.claim.files]
        settled = await self._calls.complete_smelt(self.claim.id, self.claim.attempt, results)
        if broadcast:
            await self._broadcast_outbox(settled)
        return settled

    async def fail(self, error_code: ErrorCode, *, broadcast: bool = True) -> Settled:
        """Settle as failed, and broadcast the outbox."""
        settled = await self._calls.fail_smelt(self.claim.id, self.claim.attempt, error_code)
        if broadcast:
            await self._broadcast_outbox(settled)
        return settled

    async def _broadcast_outbox(self, settled: Settled) -> None:
        for message in settled.outbox:
            await self._project.realtime.post(message.topic, message.event, message.payload)
            await self._calls.settle_outbox([message.id])
