"""What all smelts of a worker share."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from smelt.backend.project import Project
from smelt.backend.worker_calls import WorkerCalls
from smelt.processor.announcing import Announcer
from smelt.processor.leases import Leases
from smelt.processor.metrics import Metrics
from smelt.processor.options import WorkerOptions
from smelt.processor.pace import Pace
from smelt.processor.speech.shared import SharedModel
from smelt.processor.synthesis.source import Synthesizer
from smelt.processor.turns import Turns
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
class Tools:
    """The parts of a worker that a smelt is worked on with."""

    project: Project
    calls: WorkerCalls
    announcer: Announcer
    leases: Leases
    workspace: Workspace
    model: SharedModel
    synthesizer: Synthesizer
    options: WorkerOptions
    metrics: Metrics = field(default_factory=Metrics)
    pace: Pace = field(default_factory=Pace)
    turns: Turns = field(default_factory=Turns)
    threads: Threads = field(default_factory=Threads)
    outputs: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
