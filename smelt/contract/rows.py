"""Rows that their owner may read, and the row changes that Realtime sends."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from smelt.contract.events import Model
from smelt.contract.vocabulary import FileStatus, InputType, Mode, Outcome, Status

RowChangeType = Literal["INSERT", "UPDATE"]


class SmeltRow(Model):
    """A row of `smelts`; `percentage` is 0 to 100, `estimated_end_at` is None without an estimate.

    `options` are those that were requested, except default values; `metadata` is JSON of the app.
    """

    id: UUID
    batch_id: UUID | None
    mode: Mode
    default_prompt_names: tuple[str, ...]
    options: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    seq: int
    run: int
    status: Status
    percentage: float
    message: str
    estimated_end_at: datetime | None
    outcome: Outcome | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


class FileRow(Model):
    """A row of `smelt_files`; `progress` is 0 to 100."""

    id: UUID
    smelt_id: UUID
    position: int
    filename: str
    input_type: InputType
    size_bytes: int
    status: FileStatus
    stage: Status
    progress: float
    duration_seconds: float | None
    language: str | None
    error_code: str | None
    error_message: str | None
    created_at: datetime


class Notification(Model):
    """A notification for a user; `seen_at` (listed) and `read_at` (opened) are independent.

    `type` is `smelt_completed`, `smelt_failed` or `webhook_disabled`. `data` has `run` and `metadata` of the smelt, and
    where they are set, `outcome`, `error_code` and `batch_id`; for a webhook, `webhook_id` and `reason`.
    """

    id: UUID
    user_id: UUID
    smelt_id: UUID | None
    type: str
    title: str
    message: str
    data: dict[str, Any]
    created_at: datetime
    seen_at: datetime | None
    read_at: datetime | None


class RowChange(Model):
    """A change of a row as postgres_changes sends it; `record` may omit columns that did not change."""

    table: str
    type: RowChangeType
    record: dict[str, Any]

    @property
    def row_id(self) -> UUID:
        """The id of the row; raises `ValueError` if it is missing or not a UUID."""
        return UUID(str(self.record.get("id")))


class SmeltsDeleted(Model):
    """The event `smelts_deleted` on a user's feed: ids of smelts that were deleted with their files."""

    ids: tuple[UUID, ...]
