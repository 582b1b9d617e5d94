"""The metrics of a worker, for Prometheus."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from smelt.backend.worker_rpc import Health, WorkerRpc
from smelt.contract.vocabulary import Status
from smelt.contract.work import Settled
from smelt.errors import SettingsError, SmeltError
from smelt.processor.children.process import Death
from smelt.processor.periodic import Periodic
from smelt.processor.speed import SpeedEstimate

logger = logging.getLogger(__name__)

OBSERVE_INTERVAL_S: Final = 15.0
_STAGE_BUCKETS_S: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400)


class Metrics:
    """The metrics of one worker, in a registry of its own: several workers in one process stay separate."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._claims = Counter("smelt_claims", "Smelts that this worker claimed", registry=self.registry)
        self._endings = Counter(
            "smelt_endings", "Claimed smelts that this worker finished, by ending", ["ending"], registry=self.registry
        )
        self._lost = Counter("smelt_leases_lost", "Smelts lost to another worker, or deleted", registry=self.registry)
        self._unacknowledged = Counter(
            "smelt_broadcast_failures", "Broadcasts without an acknowledgement", ["event"], registry=self.registry
        )
        self._webhook_attempts = Counter(
            "smelt_webhook_attempts",
            "Requests of webhooks, by the status of their delivery after it",
            ["status"],
            registry=self.registry,
        )
        self._stages = Histogram(
            "smelt_stage_seconds",
            "Seconds of work in a stage, without waiting for the model",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._realtime_factor = Gauge(
            "smelt_realtime_factor",
            "Seconds of work per second of audio, over the last minutes of audio",
            registry=self.registry,
        )
        self._realtime_factor.set(math.nan)
        self._model_deaths = Counter(
            "smelt_model_deaths",
            "Processes of the model that died, by whose fault it is",
            ["fault"],
            registry=self.registry,
        )
        self._model_suspended = Gauge(
            "smelt_model_suspended", "1 while this worker tests its model and claims nothing", registry=self.registry
        )
        self._project = _ProjectGauges(self.registry)

    def claimed(self, count: int) -> None:
        """Count claims."""
        self._claims.inc(count)

    def settled(self, settled: Settled) -> None:
        """Count how a smelt was settled, by the verdict of the database."""
        match settled.verdict:
            case "lost":
                self._lost.inc()
            case "settled":
                self._endings.labels(settled.outcome or settled.status or "settled").inc()
            case verdict:
                self._endings.labels(verdict).inc()

    def dispatched(self) -> None:
        """Count a smelt that an external service has accepted."""
        self._endings.labels("dispatched").inc()

    def stopped(self, reason: Literal["cancelled", "lost", "draining", "unusable", "mismatched"]) -> None:
        """Count a smelt whose work was stopped early."""
        if reason == "lost":
            self._lost.inc()
        else:
            self._endings.labels("cancelled" if reason == "cancelled" else "released").inc()

    def unacknowledged(self, event: str) -> None:
        """Count a broadcast that neither the channel nor REST acknowledged."""
        self._unacknowledged.labels(event).inc()

    def webhook_attempted(self, status: Literal["delivered", "retrying", "failed", "lost"]) -> None:
        """Count a request of a webhook."""
        self._webhook_attempts.labels(status).inc()

    def stage(self, stage: Status) -> AbstractContextManager[object]:
        """Time a block as work of a stage."""
        return self._stages.labels(stage).time()

    def show_speed(self, speed: SpeedEstimate) -> None:
        """Export the speed from which ETAs are estimated."""
        self._realtime_factor.set_function(lambda: _realtime_factor(speed))

    def model_died(self, death: Death) -> None:
        """Count the death of a process with the model."""
        self._model_deaths.labels(death.fault).inc()

    def show_model(self, pid: Callable[[], int | None], is_suspended: Callable[[], bool]) -> None:
        """Export memory and processor time of the process with the model, and whether the model is suspended."""
        ProcessCollector(namespace="smelt_model", pid=lambda: pid() or "none", registry=self.registry)
        self._model_suspended.set_function(lambda: float(is_suspended()))

    def observe(self, health: Health | None) -> None:
        """Export the state of the project; NaN instead of stale numbers if it is unknown."""
        self._project.show(health)


class _ProjectGauges:
    """Gauges of the whole project; every worker exports the same."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queue_depth = Gauge(
            "smelt_queue_depth", "Smelts that could be claimed now; 1001: more than 1,000", registry=registry
        )
        self._queue_age_s = Gauge(
            "smelt_queue_age_seconds", "Seconds that the oldest of them has waited", registry=registry
        )
        self._running = Gauge("smelt_running", "Smelts that are in progress", registry=registry)
        self._outbox_depth = Gauge("smelt_outbox_depth", "Broadcasts pending in the outbox", registry=registry)
        self._outbox_age_s = Gauge(
            "smelt_outbox_age_seconds", "Seconds that the oldest of them has been pending", registry=registry
        )
        self._workers = Gauge("smelt_workers", "Workers with a heartbeat within the last minute", registry=registry)
        self.show(None)

    def show(self, health: Health | None) -> None:
        """Set the gauges; None sets NaN."""
        self._queue_depth.set(math.nan if health is None else health.waiting)
        self._queue_age_s.set(math.nan if health is None else health.oldest_waiting_s)
        self._running.set(math.nan if health is None else health.running)
        self._outbox_depth.set(math.nan if health is None else health.unsent)
        self._outbox_age_s.set(math.nan if health is None else health.oldest_unsent_s)
        self._workers.set(math.nan if health is None else health.workers)


async def run_observer(metrics: Metrics, calls: WorkerRpc) -> None:
    """Read the state of the project every 15 s, until cancelled."""

    async def observe() -> None:
        try:
            metrics.observe(await calls.get_health())
        except SmeltError:
            metrics.observe(None)
            raise

    await Periodic("reading the state of the project", observe, OBSERVE_INTERVAL_S, logged=SmeltError).run()


@asynccontextmanager
async def serve_metrics(metrics: Metrics, calls: WorkerRpc, host: str, port: int | None) -> AsyncIterator[None]:
    """Serve the metrics over HTTP for the block, on any free port for 0; without a port, do nothing."""
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


def _realtime_factor(speed: SpeedEstimate) -> float:
    factor = speed.transcription_s(audio_s=1.0)
    return math.nan if factor is None else factor
