"""The services that all smelts of a worker share."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.options import SmeltOptions
from smelt.processor.broadcasts import Announcer
from smelt.processor.children.decoders import Decoders
from smelt.processor.dispatcher import Dispatcher
from smelt.processor.leases import Leases
from smelt.processor.metrics import Metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.options import WorkerOptions
from smelt.processor.speakers.finder import SpeakerFinder
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speed import SpeedEstimate
from smelt.processor.synthesis.request import Synthesizer
from smelt.processor.workspace import Workspace


class Engine(Protocol):
    """Transcribes the recordings of a worker: its own model, or an external service."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of models that a smelt may request."""

    @property
    def is_suspended(self) -> bool:
        """True while no recording is claimed, since the last ones failed for a reason that is not theirs."""

    def issue_of(self, requested: SmeltOptions) -> str | None:
        """Return a sentence about the first option of a smelt that can't be honored; None without one."""

    async def wait_usable(self, *, while_suspended: bool = True) -> None:
        """Return once recordings can be transcribed."""

    async def run_until_load_fails(self) -> None:
        """Raise the `SettingsError` of a failed load, and never return."""


@dataclass(frozen=True, kw_only=True)
class WorkerServices:
    """The parts of a worker that process a smelt; with a `dispatcher`, the model is never loaded."""

    project: Project
    calls: WorkerRpc
    announcer: Announcer
    leases: Leases
    workspace: Workspace
    model: SharedModel
    synthesizer: Synthesizer
    speakers: SpeakerFinder | None = None
    options: WorkerOptions
    dispatcher: Dispatcher | None = None
    metrics: Metrics = field(default_factory=Metrics)
    speed: SpeedEstimate = field(default_factory=SpeedEstimate)
    model_queue: ModelQueue
    decoders: Decoders = field(default_factory=Decoders)
    synthesis_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    @property
    def engine(self) -> Engine:
        """The external service if there is one, else the model."""
        return self.dispatcher or self.model
