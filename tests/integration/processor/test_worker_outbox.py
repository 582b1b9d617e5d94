"""Every event reaches the watchers once and complete, despite failed broadcasts and killed workers."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import smelt
from smelt.backend.realtime import Channel
from smelt.backend.retries import without_waiting
from tests.harness.fake_llm import serving, streamed_response
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import (
    RECORDINGS,
    WorkerProcess,
    app_client,
    run_worker_once,
    running_worker,
    worker_metrics,
)
from tests.integration.processor.http_proxy import BROADCAST, running_http_proxy

GREETING = RECORDINGS / "greeting.ogg"
LARGE = "It was about tea. " * (300 * 1024 // 18 + 1)


def outbox_count(project: Stack, smelt_id: object) -> int:
    """Return the number of pending broadcasts of a smelt."""
    with psycopg.connect(project.db_url) as owner:
        [(count,)] = owner.execute("select count(*) from smelt.outbox where smelt_id = %s", [smelt_id]).fetchall()
    assert isinstance(count, int)
    return count


def make_due(project: Stack, smelt_id: object) -> None:
    """Make pending messages of a smelt old enough for a sweep."""
    with psycopg.connect(project.db_url, autocommit=True) as owner:
        owner.execute(
            "update smelt.outbox set created_at = created_at - interval '1 min', leased_by = null, leased_until = null "
            "where smelt_id = %s",
            [smelt_id],
        )


async def test_completed_event_of_300_kib_omits_results_and_the_watch_reads_them(
    project: Stack, tmp_path: Path
) -> None:
    async with (
        app_client(project) as app,
        serving(lambda _: streamed_response(LARGE, piece_characters=8192)) as model,
        smelt.connect(project.api_url, project.anon_key) as client,
    ):
        created = await app.create(text_input="We spoke about tea.")
        async with (
            app.watching(created.id) as watched,
            running_worker(project, tmp_path, llm_base_url=model.base_url, llm_model="m"),
        ):
            done = await client.wait(created.id, timeout_s=60)
            await until(lambda: watched.ends)
    [(event, end)] = watched.ends
    assert (event, end["results_truncated"], end["results"]) == ("completed", True, [])
    assert [result.content for result in done.results] == [LARGE.strip()]


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shorten the delays of workers in this process."""
    monkeypatch.setitem(Channel.send.__kwdefaults__, "timeout_s", 0.2)
    monkeypatch.setattr("smelt.processor.broadcasts._SWEEP_INTERVAL_S", 0.1)
    monkeypatch.setattr("smelt.processor.metrics.OBSERVE_INTERVAL_S", 0.1)
    with without_waiting():
        yield


@pytest.mark.usefixtures("short_timeouts")
async def test_outbox_message_is_retried_until_a_broadcast_is_acknowledged(
    project: Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        app_client(project) as app,
        running_http_proxy(project) as between,
        running_worker(between.project, tmp_path, metrics_port=0),
    ):
        between.drops_broadcasts = True
        created = await app.create(GREETING)
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            await until(lambda: watched.ends)
            watched.check_order()
            await until(lambda: outbox_count(project, created.id) == 0)
        assert not failures(worker_metrics(caplog.text)), "broadcasts fall back to REST"

        between.rejected_prefix = BROADCAST
        created = await app.create(GREETING)
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            await until(lambda: failures(worker_metrics(caplog.text)).get("completed"))
            assert outbox_count(project, created.id) == 1
            make_due(project, created.id)
            await until(lambda: worker_metrics(caplog.text)["smelt_outbox_age_seconds",] >= 60)
            assert not watched.ends
            between.drops_broadcasts, between.rejected_prefix = False, None
            await until(lambda: make_due(project, created.id) or watched.ends)
            await until(lambda: worker_metrics(caplog.text)["smelt_outbox_depth",] == 0)
        assert [name for name, _ in watched.events if name == "completed"] == ["completed"]


async def test_outbox_message_of_a_killed_worker_is_sent_once_by_another(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app, running_http_proxy(project) as between:
        created = await app.create(GREETING)
        worker = WorkerProcess(between.project, tmp_path)

        def kill(path: str) -> None:
            if path.endswith("/complete_smelt"):
                worker.end(signal.SIGKILL)

        between.on_response = kill
        try:
            async with app.watching(created.id) as watched:
                await app.calls.submit_smelt(created.id)
                assert await worker.exit_code() == -signal.SIGKILL
                assert (await app.state(created.id)).status == "completed"
                assert outbox_count(project, created.id) == 1
                assert not watched.ends
                make_due(project, created.id)
                await run_worker_once(project, tmp_path)
                await until(lambda: watched.ends)
                # A second sweep finds nothing to send.
                await run_worker_once(project, tmp_path)
                assert outbox_count(project, created.id) == 0
        finally:
            worker.close()
    assert [name for name, _ in watched.events if name == "completed"] == ["completed"]


def failures(metrics: dict[tuple[str, ...], float]) -> dict[str, float]:
    """Return the number of failed broadcasts by event."""
    return {key[1]: value for key, value in metrics.items() if key[0] == "smelt_broadcast_failures_total"}
