"""What a worker counts and measures, for Prometheus."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from smelt.backend.worker_rpc import Health, WorkerRpc
from smelt.contract.vocabulary import Status
from smelt.contract.work import Settled
from smelt.errors import SettingsError, SmeltError
from smelt.processor.speed import SpeedEstimate

logger = logging.getLogger(__name__)

OBSERVE_INTERVAL_S: Final = 15.0
_STAGE_BUCKETS_S: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400)


class Metrics:
    """The metrics of one worker, in a registry of its own: two workers of one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._claims = Counter("smelt_claims", "Smelts that this worker has claimed", registry=self.registry)
        self._endings = Counter(
            "smelt_endings", "Claimed smelts that this worker is done with, by how", ["ending"], registry=self.registry
        )
        self._lost = Counter(
            "smelt_leases_lost", "Smelts that another worker took over, or somebody deleted", registry=self.registry
        )
        self._unheard = Counter(
            "smelt_broadcast_failures", "Broadcasts that nobody acknowledged", ["event"], registry=self.registry
        )
        self._stages = Histogram(
            "smelt_stage_seconds",
            "Seconds of work in a stage, without waiting for a turn",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._realtime_factor = Gauge(
            "smelt_realtime_factor",
            "Seconds of work for a second of audio, over the last minutes of audio",
            registry=self.registry,
        )
        self._realtime_factor.set(math.nan)
        self._project = _ProjectGauges(self.registry)

    def claimed(self, count: int) -> None:
        """Count claims."""
        self._claims.inc(count)

    def settled(self, settled: Settled) -> None:
        """Count how a smelt was settled, by the answer of the database."""
        match settled.verdict:
            case "lost":
                self._lost.inc()
            case "settled":
                self._endings.labels(settled.outcome or settled.status or "settled").inc()
            case verdict:
                self._endings.labels(verdict).inc()

    def stopped(self, reason: Literal["cancelled", "lost", "draining"]) -> None:
        """Count a smelt whose work ended before it was done."""
        if reason == "lost":
            self._lost.inc()
        else:
            self._endings.labels("cancelled" if reason == "cancelled" else "released").inc()

    def unheard(self, event: str) -> None:
        """Count a broadcast that was not acknowledged, neither way."""
        self._unheard.labels(event).inc()

    def stage(self, stage: Status) -> AbstractContextManager[object]:
        """Time the work of a block as that of a stage."""
        return self._stages.labels(stage).time()

    def follow(self, pace: SpeedEstimate) -> None:
        """Show the speed that the estimates are made from."""
        self._realtime_factor.set_function(lambda: _realtime_factor(pace))

    def observe(self, health: Health | None) -> None:
        """Show how the project stands; without an answer there are no numbers rather than old ones."""
        self._project.show(health)


class _ProjectGauges:
    """How the whole project stands; every worker shows the same."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge("smelt_queue_depth", "Smelts that could be claimed now", registry=registry)
        self._waiting_s = Gauge("smelt_queue_age_seconds", "How long the first of them has waited", registry=registry)
        self._running = Gauge("smelt_running", "Smelts that some worker is working on", registry=registry)
        self._owed = Gauge("smelt_outbox_depth", "Broadcasts that are still owed", registry=registry)
        self._owed_s = Gauge("smelt_outbox_age_seconds", "How long the first of them is owed", registry=registry)
        self._workers = Gauge("smelt_workers", "Workers that were seen within a minute", registry=registry)
        self.show(None)

    def show(self, health: Health | None) -> None:
        """Show an answer of the database, or that there is none."""
        self._waiting.set(math.nan if health is None else health.waiting)
        self._waiting_s.set(math.nan if health is None else health.oldest_waiting_s)
        self._running.set(math.nan if health is None else health.running)
        self._owed.set(math.nan if health is None else health.unsent)
        self._owed_s.set(math.nan if health is None else health.oldest_unsent_s)
        self._workers.set(math.nan if health is None else health.workers)


async def run_observer(metrics: Metrics, calls: WorkerRpc) -> None:
    """Ask how the project stands every few seconds, until cancelled."""
    while True:
        try:
            metrics.observe(await calls.get_health())
        except SmeltError as exc:
            metrics.observe(None)
            logger.warning("metrics of the project: %s", exc)
        await asyncio.sleep(OBSERVE_INTERVAL_S)


@asynccontextmanager
async def served(metrics: Metrics, calls: WorkerRpc, host: str, port: int | None) -> AsyncIterator[None]:
    """Serve the metrics over HTTP for the time of a block, on any free port for 0; without a port, don't."""
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as exc:
        raise SettingsError(f"SMELT_METRICS_HOST={host}, SMELT_METRICS_PORT={port}: {exc.strerror or exc}") from exc
    logger.info("metrics at http://%s:%s/metrics", host, server.server_port)
    observing = asyncio.create_task(run_observer(metrics, calls), name="metrics of the project")
    try:
        yield
    finally:
        observing.cancel()
        await asyncio.wait({observing})
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)


def _realtime_factor(pace: SpeedEstimate) -> float:
    factor = pace.hearing_s(audio_s=1.0)
    return math.nan if factor is None else factor
