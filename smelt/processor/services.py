"""The services that all smelts of a worker share."""

import asyncio
from dataclasses import dataclass, field

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.processor.broadcasts import Announcer
from smelt.processor.children.decoders import Decoders
from smelt.processor.leases import Leases
from smelt.processor.metrics import Metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.options import WorkerOptions
from smelt.processor.speakers.finder import SpeakerFinder
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speed import SpeedEstimate
from smelt.processor.synthesis.request import Synthesizer
from smelt.processor.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class WorkerServices:
    """The parts of a worker that process a smelt."""

    project: Project
    calls: WorkerRpc
    announcer: Announcer
    leases: Leases
    workspace: Workspace
    model: SharedModel
    synthesizer: Synthesizer
    speakers: SpeakerFinder | None = None
    options: WorkerOptions
    metrics: Metrics = field(default_factory=Metrics)
    speed: SpeedEstimate = field(default_factory=SpeedEstimate)
    model_queue: ModelQueue = field(default_factory=ModelQueue)
    decoders: Decoders = field(default_factory=Decoders)
    synthesis_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
