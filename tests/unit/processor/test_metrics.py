"""The metrics that a worker exports."""

import math
import os
from datetime import UTC, datetime

import pytest

from smelt.backend.worker_rpc import Health
from smelt.contract.work import Settled
from smelt.processor.children.process import Death
from smelt.processor.metrics import Metrics
from smelt.processor.speed import SpeedEstimate

HEALTH = Health(
    now=datetime(2026, 1, 2, tzinfo=UTC),
    migrations=None,
    max_file_bytes=1,
    waiting=3,
    oldest_waiting_s=90,
    running=2,
    unsent=1,
    oldest_unsent_s=7,
    workers=4,
)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("settled", "ending"),
    [
        (Settled(verdict="settled", status="completed", outcome="partial"), "partial"),
        (Settled(verdict="settled", status="failed", error_code="cancelled"), "failed"),
        (Settled(verdict="retrying"), "retrying"),
        (Settled(verdict="released"), "released"),
    ],
)
def test_metrics_count_settlements_by_outcome(settled: Settled, ending: str) -> None:
    metrics = Metrics()
    metrics.settled(settled)
    assert value(metrics, "smelt_endings_total", ending=ending) == 1
    assert value(metrics, "smelt_leases_lost_total") == 0


def test_metrics_count_lost_leases_separately() -> None:
    metrics = Metrics()
    metrics.settled(Settled(verdict="lost"))
    metrics.stopped("lost")
    metrics.stopped("cancelled")
    metrics.stopped("draining")
    assert value(metrics, "smelt_leases_lost_total") == 2
    assert value(metrics, "smelt_endings_total", ending="cancelled") == 1
    assert value(metrics, "smelt_endings_total", ending="released") == 1


def test_metrics_count_requests_of_webhooks_by_the_status_of_their_delivery() -> None:
    metrics = Metrics()
    for status in ("retrying", "retrying", "delivered"):
        metrics.webhook_attempted(status)
    assert value(metrics, "smelt_webhook_attempts_total", status="retrying") == 2
    assert value(metrics, "smelt_webhook_attempts_total", status="delivered") == 1


def test_metrics_are_nan_without_a_database() -> None:
    metrics = Metrics()
    metrics.observe(HEALTH)
    assert value(metrics, "smelt_queue_depth") == 3
    assert value(metrics, "smelt_queue_age_seconds") == 90
    assert value(metrics, "smelt_outbox_age_seconds") == 7
    metrics.observe(None)
    assert math.isnan(value(metrics, "smelt_queue_depth") or 0)


def test_metrics_show_the_realtime_factor_once_measured() -> None:
    metrics, speed = Metrics(), SpeedEstimate()
    metrics.show_speed(speed)
    assert math.isnan(value(metrics, "smelt_realtime_factor") or 0)
    speed.add_preparation(10, 5, 1)
    speed.add_inference(5, 4)
    assert value(metrics, "smelt_realtime_factor") == pytest.approx(0.5)


def test_metrics_of_two_workers_are_separate() -> None:
    one, other = Metrics(), Metrics()
    one.claimed(2)
    one.unacknowledged("completed")
    assert value(one, "smelt_claims_total") == 2
    assert value(one, "smelt_broadcast_failures_total", event="completed") == 1
    assert value(other, "smelt_claims_total") == 0


def test_metrics_show_the_process_of_the_model_and_its_deaths() -> None:
    metrics, pid, suspended = Metrics(), list[int | None]([None]), [False]
    metrics.show_model(lambda: pid[0], lambda: suspended[0])
    metrics.model_died(Death(returncode=-11, stage="working"))
    metrics.model_died(Death(returncode=-9, stage="idle"))
    assert value(metrics, "smelt_model_deaths_total", fault="work") == 1
    assert value(metrics, "smelt_model_deaths_total", fault="machine") == 1
    assert value(metrics, "smelt_model_suspended") == 0
    assert value(metrics, "smelt_model_process_resident_memory_bytes") is None
    pid[0], suspended[0] = os.getpid(), True
    assert value(metrics, "smelt_model_suspended") == 1
    resident_bytes = value(metrics, "smelt_model_process_resident_memory_bytes")
    assert resident_bytes is not None
    assert resident_bytes > 2**20
