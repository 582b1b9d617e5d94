"""What all smelts of a worker share."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.processor.broadcasts import Announcer
from smelt.processor.leases import Leases
from smelt.processor.metrics import Metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.options import WorkerOptions
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speed import SpeedEstimate
from smelt.processor.synthesis.request import Synthesizer
from smelt.processor.workspace import Workspace

_DECODERS = 2


@dataclass(frozen=True)
class Threads:
    """Where blocking work runs; a pool bounds its stage also when a cancelled smelt leaves a thread behind."""

    decoding: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_DECODERS, "decode"))
    model: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "model"))

    def shut_down(self) -> None:
        """Take nothing new; what is running ends by itself."""
        self.decoding.shutdown(wait=False, cancel_futures=True)
        self.model.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class WorkerServices:
    """The parts of a worker that a smelt is worked on with."""

    project: Project
    calls: WorkerRpc
    announcer: Announcer
    leases: Leases
    workspace: Workspace
    model: SharedModel
    synthesizer: Synthesizer
    options: WorkerOptions
    metrics: Metrics = field(default_factory=Metrics)
    pace: SpeedEstimate = field(default_factory=SpeedEstimate)
    turns: ModelQueue = field(default_factory=ModelQueue)
    threads: Threads = field(default_factory=Threads)
    outputs: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
