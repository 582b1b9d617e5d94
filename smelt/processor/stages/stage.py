"""The base of all stages."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from smelt.contract.vocabulary import Status
from smelt.contract.work import Risk
from smelt.processor.reporter import Reporter
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState, size_weight


@dataclass(frozen=True)
class Job:
    """A smelt in progress, the services of its worker, and the folder for its temporary files."""

    reporter: Reporter
    services: WorkerServices
    folder: Path

    @property
    def state(self) -> SmeltState:
        """The state of the smelt."""
        return self.reporter.state

    @property
    def untranscribed(self) -> list[FileWork]:
        """The recordings that have not failed and are not transcribed."""
        return [f for f in self.state.live_files if f.claimed.input_type == "audio" and not f.transcribed]


class Stage(ABC):
    """A stage of one smelt; by default for all recordings that are not transcribed."""

    name: ClassVar[Status]
    """The status of a smelt in this stage, and the label of its metrics."""
    risk: ClassVar[Risk | None] = None
    """The risk of its work for the worker, which the database knows before each file and after the last one."""
    first_share: ClassVar[float] = 0.0
    """The share of the status at which it begins."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def files(self) -> list[FileWork]:
        """The files to process."""
        return self.job.untranscribed

    def weight(self, file: FileWork) -> float:
        """Return the weight of a file in the progress of the stage."""
        return size_weight(file)

    def remaining_s(self) -> float | None:
        """Return the seconds that this stage still needs, as far as they count in ETAs; None while unknown."""
        return 0.0

    def waiting_s(self) -> float | None:
        """Return the seconds until `turn` begins, as far as they count in ETAs; None while unknown."""
        return 0.0

    @property
    def begins_at_once(self) -> bool:
        """True if `turn` would begin now, without waiting."""
        return True

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the stage may begin, and hold its place for the block."""
        yield

    @abstractmethod
    async def run(self, file: FileWork) -> None:
        """Process one file; raise `FileError` if the file is at fault."""


def total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum; None if a part is unknown."""
    total_s = 0.0
    for part_s in seconds:
        if part_s is None:
            return None
        total_s += part_s
    return total_s
