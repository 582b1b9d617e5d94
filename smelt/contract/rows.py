"""Rows as their owner reads them, and the changes of rows that Realtime tells."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from smelt.contract.events import Model
from smelt.contract.vocabulary import FileStatus, InputType, Mode, Outcome, Status

RowChangeType = Literal["INSERT", "UPDATE"]


class SmeltRow(Model):
    """A smelt in a list; `percentage` 0 to 100, `estimated_end_at` while a worker can tell."""

    id: UUID
    batch_id: UUID | None
    mode: Mode
    default_prompt_names: tuple[str, ...]
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
    """A file of a smelt in a list; `progress` 0 to 100."""

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
    """What a user is told when a smelt of theirs ends; `seen` and `read` are apart."""

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
    """A change of a row as postgres_changes sends it; columns that did not change may be left out of `record`."""

    table: str
    type: RowChangeType
    record: dict[str, Any]

    @property
    def row_id(self) -> UUID:
        """Whose change it is; raises `ValueError` for a table without such ids."""
        return UUID(str(self.record.get("id")))


class SmeltsDeleted(Model):
    """The event `smelts_deleted` of a user's feed: smelts of the user that were deleted, with their files."""

    ids: tuple[UUID, ...]
