"""Reports and broadcasts: nothing is lost or repeated, and nothing follows the terminal event."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.events import Output, ProgressEvent, SegmentsEvent
from smelt.contract.report_events import MAX_EVENT_BYTES, pieces, report_events
from smelt.contract.work import Claim, SavedSegment, Verdict
from smelt.errors import Unavailable
from smelt.processor.broadcasts import Announcer
from smelt.processor.errors import (
    DiskFull,
    FileError,
    SynthesisPermanentError,
    SynthesisTransientError,
)
from smelt.processor.event_queue import EventQueue
from smelt.processor.leases import Leases
from smelt.processor.outcome import Failure, failure_of
from smelt.processor.polling import Contact
from smelt.processor.reporter import Reporter
from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.state import SmeltState
from tests.harness.waiting import until
from tests.unit.processor.fakes import FakeChannel, FakeProject, FakeRpc, claim, file_row, progress_event

CHECKPOINT = Checkpoint(span_start=0, seek=100, segment_count=1)


def segment(index: int, text: str = "hello.") -> SavedSegment:
    return SavedSegment(index=index, start=float(index), end=index + 1.0, text=text, avg_logprob=-0.1)


FILE_ID = uuid4()


def output(position: int, content: str) -> Output:
    return Output(file_id=FILE_ID, position=position, title="Summary", content=content, is_complete=False)


class ReporterHarness:
    """A reporter with a scripted database."""

    def __init__(self, claimed: Claim | None = None) -> None:
        self.claim = claimed or claim()
        self.verdict: Verdict = "go_on"
        self.failures = 0
        self.silent = False
        self.eta_s: float | None = 12.5
        self.considered = 0
        self.verdicts: list[Verdict] = []
        self.renewals: list[float] = []
        self.rpc = FakeRpc(self._respond)
        self.project = FakeProject(self.rpc)
        self.channel = FakeChannel()
        announcer = Announcer(self.project, "w")  # type: ignore[arg-type]
        self.event_queue = EventQueue(announcer, self.channel)  # type: ignore[arg-type]
        self.reporter = Reporter(
            self.claim,
            WorkerRpc(self.rpc),  # type: ignore[arg-type]
            self.event_queue,
            lease_s=30,
            on_verdict=self.verdicts.append,
            on_renewed=self.renewals.append,
            eta_s=self._estimate,
        )
        self.state = self.reporter.state

    @property
    def reports(self) -> list[dict[str, Any]]:
        return self.rpc.named("report_smelt_progress")

    def _estimate(self) -> float | None:
        self.considered += 1
        return self.eta_s

    def _respond(self, function: str, arguments: dict[str, Any]) -> Any:
        assert function == "report_smelt_progress"
        if self.failures:
            self.failures -= 1
            raise Unavailable("gone for a moment")
        if self.silent or self.verdict != "go_on" or arguments["percentage"] is None:
            return {"verdict": self.verdict, "event": None}
        event = progress_event(self.claim.id, arguments["status"], arguments["percentage"])
        return {"verdict": self.verdict, "event": event}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.reporter.run_reports()), asyncio.create_task(self.event_queue.run_queue())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_report_of_a_stage_change_is_immediate_and_others_are_throttled() -> None:
    harness = ReporterHarness()
    file = harness.state.files[0]
    async with harness.running():
        harness.state.enter("validating")
        await until(lambda: len(harness.reports) == 1)
        for share in (0.1, 0.2, 0.3):
            harness.state.advance(file, share)
        harness.state.enter("decoding")
        await until(lambda: len(harness.reports) == 2)
        for share in range(1, 50):
            harness.state.advance(file, share / 100)
            await asyncio.sleep(0)
        await until(lambda: len(harness.reports) == 3)
        await until(lambda: len(harness.channel.sent) == 3)
    assert [report["percentage"] for report in harness.reports] == [0.0, 10.0, 14.9]
    assert [event for event, _ in harness.channel.sent] == ["progress"] * 3


async def test_report_is_sent_when_the_eta_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smelt.processor.reporter.ETA_CHECK_INTERVAL_S", 0.01)
    harness = ReporterHarness()
    harness.eta_s = 10_000.0
    async with harness.running():
        harness.state.enter("decoding")
        for count, eta_s in enumerate((20_000.0, 5_000.0), start=1):
            await until(lambda count=count: len(harness.reports) == count)
            harness.eta_s = eta_s
        await until(lambda: len(harness.reports) == 3)
        considered = harness.considered
        await until(lambda: harness.considered > considered + 5)
    assert [report["eta_seconds"] for report in harness.reports] == [10_000.0, 20_000.0, 5_000.0]


def test_report_is_not_requested_without_a_change() -> None:
    changes: list[bool] = []
    state = SmeltState(claim(), changes.append)
    state.enter("validating")
    for share in (0.5, 0.5, 0.2):
        state.advance(state.files[0], share)
    assert changes == [False, False]


async def test_checkpoint_is_reported_once_with_its_segments() -> None:
    harness = ReporterHarness()
    file = harness.state.files[0]
    harness.state.enter("transcribing")
    harness.state.add_segments(file, (segment(0),), CHECKPOINT, 0.1)
    await harness.reporter.flush()
    await harness.reporter.flush()
    first, second = harness.reports
    assert [row["index"] for row in first["segments"]] == [0]
    assert first["files"][0]["checkpoint"] == CHECKPOINT.model_dump(mode="json")
    assert second["segments"] == []
    assert second["files"] == []


async def test_report_retry_includes_unconfirmed_segments() -> None:
    harness = ReporterHarness()
    file = harness.state.files[0]
    harness.state.enter("transcribing")
    harness.failures = 1
    async with harness.running():
        harness.state.add_segments(file, (segment(0),), CHECKPOINT, 0.1)
        await until(lambda: len(harness.reports) == 1)
        harness.state.add_segments(file, (segment(1),), CHECKPOINT, 0.2)
        await until(lambda: len(harness.reports) == 2)
    assert [row["index"] for row in harness.reports[1]["segments"]] == [0, 1]


@pytest.mark.parametrize("verdict", ["lost", "cancelled"])
async def test_fencing_stops_broadcasts_after_a_lost_or_cancelled_verdict(verdict: Verdict) -> None:
    harness = ReporterHarness()
    harness.verdict = verdict
    async with harness.running():
        harness.state.add_segments(harness.state.files[0], (segment(0),), CHECKPOINT, 0.1)
        await until(lambda: harness.verdicts)
    assert harness.verdicts == [verdict]
    assert harness.channel.sent == []
    assert harness.project.realtime.posted == []


async def test_risk_is_acknowledged_before_the_work_and_its_end_is_reported() -> None:
    harness = ReporterHarness()
    harness.failures = 1
    async with harness.running(), asyncio.timeout(30):
        harness.state.enter("decoding")
        async with harness.reporter.at_risk("decode"):
            assert harness.failures == 0
            assert [(report["status"], report["risk"]) for report in harness.reports[1:]] == [("decoding", "decode")]
        await until(lambda: harness.reports[-1]["risk"] is None)


async def test_risk_report_includes_all_earlier_segments() -> None:
    harness = ReporterHarness()
    harness.state.add_segments(harness.state.files[0], (segment(0),), CHECKPOINT, 0.1)
    async with harness.reporter.at_risk("model"):
        [report] = harness.reports
        assert (report["risk"], [row["index"] for row in report["segments"]]) == ("model", [0])
        harness.state.add_segments(harness.state.files[0], (segment(1),), CHECKPOINT, 0.2)
        await harness.reporter.flush()
    await harness.reporter.acknowledge()
    assert [report["risk"] for report in harness.reports] == ["model", "model", None]


async def test_risk_report_leaves_progress_to_the_next_report() -> None:
    """Otherwise each risk would add an event beside the one per second."""
    harness = ReporterHarness()
    file = harness.state.files[0]
    harness.state.enter("validating")
    await harness.reporter.flush()
    harness.state.advance(file, 0.9)
    async with harness.reporter.at_risk("decode"):
        file.duration_s = 12.0
    await harness.reporter.acknowledge()
    assert [(report["risk"], report["percentage"], list(report["files"])) for report in harness.reports[1:]] == [
        ("decode", None, []),
        (None, None, []),
    ]
    await harness.reporter.flush()
    assert harness.reports[-1]["files"][0]["duration_seconds"] == 12.0
    harness.state.fail(file, "corrupted_file")
    await harness.reporter.acknowledge()
    assert harness.reports[-1]["files"][0]["error_code"] == "corrupted_file"


@pytest.mark.parametrize("error", [FileError("corrupted_file", "x"), DiskFull("x")])
async def test_risk_ends_with_an_error_of_the_work(error: Exception) -> None:
    harness = ReporterHarness()
    with pytest.raises(type(error)):
        async with harness.reporter.at_risk("decode"):
            raise error
    await harness.reporter.flush()
    assert harness.reports[-1]["risk"] is None


@pytest.mark.parametrize("verdict", ["lost", "cancelled"])
async def test_risk_is_not_taken_for_a_smelt_that_is_no_longer_held(verdict: Verdict) -> None:
    harness = ReporterHarness()
    harness.verdict = verdict
    has_begun = False

    async def work() -> None:
        nonlocal has_begun
        async with harness.reporter.at_risk("model"):
            has_begun = True

    working = asyncio.create_task(work())
    await until(lambda: harness.verdicts)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (has_begun, working.done(), harness.verdicts) == (False, False, [verdict])
    working.cancel()
    await asyncio.wait([working])


async def test_report_without_an_event_is_not_broadcast() -> None:
    harness = ReporterHarness()
    harness.silent = True
    await harness.reporter.flush()
    await harness.event_queue.flush(30)
    assert harness.channel.sent == []


async def test_broadcast_of_a_report_is_one_progress_with_its_segments() -> None:
    harness = ReporterHarness()
    file = harness.state.files[0]
    async with harness.running():
        harness.state.add_segments(file, (segment(0), segment(1)), CHECKPOINT, 0.1)
        await until(lambda: harness.channel.sent)
    [(event, payload)] = harness.channel.sent
    assert event == "progress"
    progress = ProgressEvent.model_validate(payload)
    assert [(found.file_id, found.index) for found in progress.segments] == [(file.id, 0), (file.id, 1)]
    assert "avg_logprob" not in payload["segments"][0]


async def test_report_of_the_first_text_is_immediate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smelt.processor.reporter.report_interval_s", lambda _: 1000.0)
    harness = ReporterHarness()
    file = harness.state.files[0]
    async with harness.running():
        harness.state.enter("transcribing")
        await until(lambda: len(harness.reports) == 1)
        harness.state.add_segments(file, (segment(0),), CHECKPOINT, 0.1)
        await until(lambda: len(harness.reports) == 2)
        harness.state.add_segments(file, (segment(1),), CHECKPOINT, 0.2)
        await asyncio.sleep(0.1)
    assert [len(report["segments"]) for report in harness.reports] == [0, 1]


async def test_report_that_was_acknowledged_is_not_repeated() -> None:
    harness = ReporterHarness()
    async with harness.running():
        harness.state.enter("decoding")
        await asyncio.gather(harness.reporter.acknowledge(), asyncio.sleep(0))
        considered = harness.considered
        await asyncio.sleep(0.1)
        assert harness.considered == considered
    assert len(harness.reports) == 1


async def test_report_renews_the_lease_unless_the_smelt_is_lost() -> None:
    harness = ReporterHarness()
    await harness.reporter.flush()
    assert len(harness.renewals) == 1
    harness.verdict = "lost"
    await harness.reporter.flush()
    assert len(harness.renewals) == 1


async def test_final_report_is_needed_only_for_a_transcript_or_a_failed_file() -> None:
    harness = ReporterHarness()
    file = harness.state.files[0]
    harness.state.enter("synthesizing")
    file.outputs["a"] = "Anna."
    await harness.reporter.flush_transcript()
    assert harness.reports == []
    harness.state.add_segments(file, (segment(0),), CHECKPOINT, 0.1)
    await harness.reporter.flush_transcript()
    harness.state.fail(file, "corrupted_file")
    await harness.reporter.flush_transcript()
    assert len(harness.reports) == 2


async def test_broadcast_coalesces_progress_of_one_stage() -> None:
    harness = ReporterHarness()
    for percentage in (21.0, 22.0, 23.0):
        await harness.event_queue.put("progress", progress_event(harness.claim.id, "transcribing", percentage))
    await harness.event_queue.put("progress", progress_event(harness.claim.id, "synthesizing", 70.0))
    async with harness.running():
        await harness.event_queue.flush(5)
    assert [payload["progress"]["percentage"] for _, payload in harness.channel.sent] == [23.0, 70.0]


async def test_broadcast_flush_is_bounded_by_its_timeout() -> None:
    harness = ReporterHarness()
    await harness.event_queue.put("progress", progress_event(harness.claim.id))
    await harness.event_queue.flush(0.05)
    async with harness.running():
        await harness.event_queue.flush(1)
    assert harness.channel.sent == []


async def test_broadcast_falls_back_to_rest_without_an_acknowledgement() -> None:
    rpc = FakeRpc(lambda *_: None)
    project = FakeProject(rpc)
    announcer = Announcer(project, "w")  # type: ignore[arg-type]
    for channel in (FakeChannel(joined=False), FakeChannel(acknowledges=False), None):
        assert await announcer.broadcast("smelt:x", "progress", {}, channel)  # type: ignore[arg-type]
    assert len(project.realtime.posted) == 3
    project.realtime.error = Unavailable("no")
    assert not await announcer.broadcast("smelt:x", "progress", {}, None)


async def test_outbox_settles_only_acknowledged_messages() -> None:
    messages = [
        {"id": 1, "event_id": str(uuid4()), "topic": "smelt:x", "event": "completed", "payload": {"n": 1}},
        {
            "id": 2,
            "event_id": str(uuid4()),
            "topic": "smelt-notifications:u",
            "event": "new_notification",
            "payload": {},
        },
    ]
    rpc = FakeRpc(lambda function, _: messages if function == "claim_smelt_outbox" else {"settled": 1})
    project = FakeProject(rpc)
    channel = FakeChannel("smelt:x")
    announcer = Announcer(project, "w")  # type: ignore[arg-type]
    project.realtime.error = Unavailable("no")
    await announcer.send_outbox(uuid4(), channel)  # type: ignore[arg-type]
    assert channel.sent == [("completed", {"n": 1})]
    assert rpc.named("settle_smelt_outbox") == [{"ids": [1]}]


async def test_outbox_claim_that_fails_does_not_raise() -> None:
    def respond(*_: Any) -> Any:
        raise Unavailable("no")

    await Announcer(FakeProject(FakeRpc(respond)), "w").send_outbox(uuid4(), None)  # type: ignore[arg-type]


async def test_outbox_sweep_continues_until_empty_and_stops_on_failure() -> None:
    message = {"id": 1, "event_id": str(uuid4()), "topic": "smelt-batch:b", "event": "progress", "payload": {}}
    responses = [[message], [message], []]
    rpc = FakeRpc(lambda function, _: responses.pop(0) if function == "claim_smelt_outbox" else {"settled": 1})
    project = FakeProject(rpc)
    announcer = Announcer(project, "w")  # type: ignore[arg-type]
    await announcer.sweep()
    assert responses == []
    assert len(project.realtime.posted) == 2
    responses.extend([[message], [message]])
    project.realtime.error = Unavailable("no")
    await announcer.sweep()
    assert len(responses) == 1


async def test_fencing_verdict_reaches_only_the_holder_of_its_attempt() -> None:
    held, stale = claim(attempt=4), claim(attempt=2)
    responses = [(held, 4, "cancelled"), (stale, 1, "lost")]
    rpc = FakeRpc(
        lambda *_: {
            "leases": [
                {"smelt_id": str(c.id), "attempt": attempt, "verdict": verdict} for c, attempt, verdict in responses
            ]
        }
    )
    leases = Leases(WorkerRpc(rpc), "w", 30, Contact())  # type: ignore[arg-type]
    received: list[tuple[str, Verdict]] = []
    await leases.renew()
    assert rpc.calls == []
    leases.add(held, lambda verdict: received.append(("held", verdict)))
    leases.add(stale, lambda verdict: received.append(("stale", verdict)))
    await leases.renew()
    assert received == [("held", "cancelled")]
    leases.remove(held)
    leases.remove(held)
    await leases.renew()
    assert [lease["attempt"] for lease in rpc.calls[-1][1]["leases"]] == [2]


async def test_lease_renewal_survives_an_outage_and_can_be_requested() -> None:
    responses: list[Any] = [Unavailable("no"), {"leases": []}]

    def respond(*_: Any) -> Any:
        found = responses.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    rpc = FakeRpc(respond)
    leases = Leases(WorkerRpc(rpc), "w", 30, Contact())  # type: ignore[arg-type]
    leases.add(claim(), lambda _: None)
    task = asyncio.create_task(leases.run_renewals())
    for count in (1, 2):
        leases.request_renewal()
        await until(lambda count=count: len(rpc.calls) == count)
    task.cancel()
    await asyncio.wait([task])


def test_failed_file_counts_as_done_and_reports_its_error_code() -> None:
    state = SmeltState(claim(file_row(), file_row(position=1, size_bytes=3000)), lambda _: None)
    state.enter("validating")
    state.advance(state.files[0], 1.0)
    assert state.percentage == pytest.approx(2.5)
    state.fail(state.files[1], "corrupted_file")
    assert state.percentage == pytest.approx(10.0)
    state.enter("decoding")
    files = {row["id"]: row for row in state.draft().files}
    assert files[str(state.files[1].id)] == {
        "id": str(state.files[1].id),
        "status": "failed",
        "error_code": "corrupted_file",
    }


def test_resume_counts_transcribed_files_as_done_until_synthesis() -> None:
    done = file_row(transcribed=True, duration_seconds=30.0)
    state = SmeltState(claim(done, file_row(position=1, duration_seconds=10.0), percentage=90.0), lambda _: None)
    state.enter("transcribing", lambda file: file.duration_s or 0.0)
    assert state.percentage == pytest.approx(20 + 50 * 0.75)
    assert state.draft().message == "Resuming..."
    state.enter("synthesizing")
    assert state.percentage == 70.0


def test_checkpoint_includes_the_finished_outputs() -> None:
    place = CHECKPOINT.model_dump(mode="json")
    row = file_row(transcribed=True, duration_seconds=30.0, checkpoint=place | {"outputs": {"a": "Anna."}})
    state = SmeltState(claim(row), lambda _: None)
    [file] = state.files
    assert (file.saved_checkpoint, file.outputs) == (CHECKPOINT, {"a": "Anna."})
    state.enter("synthesizing")
    state.confirm(state.draft())
    assert "checkpoint" not in state.draft().files[0]
    file.outputs["b"] = "Ben."
    assert state.draft().files[0]["checkpoint"] == place | {"outputs": {"a": "Anna.", "b": "Ben."}}
    # A text has no position in a recording.
    text = SmeltState(claim(file_row(input_type="text", checkpoint=None)), lambda _: None)
    assert "checkpoint" not in text.draft().files[0]
    text.files[0].outputs["a"] = "Anna."
    assert text.draft().files[0]["checkpoint"]["outputs"] == {"a": "Anna."}


def test_failed_file_is_still_failed_in_the_next_attempt() -> None:
    state = SmeltState(claim(file_row(status="failed"), file_row(position=1)), lambda _: None)
    assert [file.failed for file in state.files] == [True, False]


@given(st.lists(st.text(max_size=3000), max_size=80), st.integers(200, 5000))
def test_segment_batches_keep_all_rows_in_order_and_fit_the_size(texts: list[str], max_bytes: int) -> None:
    rows: list[dict[str, Any]] = [{"index": index, "text": text} for index, text in enumerate(texts)]
    made = list(pieces(rows, max_bytes))
    assert [row for piece in made for row in piece] == rows
    for piece in made:
        assert len(piece) == 1 or len(json.dumps(piece)) <= max_bytes


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5000)), max_size=80))
def test_segments_fit_into_broadcasts_that_end_with_the_progress(sizes: list[tuple[int, int]]) -> None:
    files = (uuid4(), uuid4())
    state = ProgressEvent.model_validate(progress_event(uuid4()))
    saved = [(files[file], segment(index, "w" * size)) for index, (file, size) in enumerate(sizes)]
    made = list(report_events(saved, state))
    assert [event for event, _ in made] == ["segments"] * (len(made) - 1) + ["progress"]
    assert all(len(json.dumps(payload)) <= MAX_EVENT_BYTES for _, payload in made)
    assert len({payload["event_id"] for _, payload in made}) == len(made)
    sent = list[tuple[str, int]]()
    for event, payload in made:
        model: Any = {"segments": SegmentsEvent, "progress": ProgressEvent}[event]
        assert model.model_validate(payload).seq == state.seq
        sent += [(row.get("file_id", payload.get("file_id")), row["index"]) for row in payload["segments"]]
    assert sent == [(str(file_id), row.index) for file_id, row in saved]
    everything = {**state.model_dump(mode="json"), "segments": [row.model_dump() for _, row in saved]}
    assert len(made) == 1 or len(json.dumps(everything)) > MAX_EVENT_BYTES / 2


@given(st.lists(st.integers(0, 50_000), max_size=8), st.integers(0, 40_000))
def test_last_outputs_that_fit_have_their_content_in_the_progress(sizes: list[int], text_size: int) -> None:
    state = ProgressEvent.model_validate(progress_event(uuid4()))
    outputs = [output(position, "w" * size) for position, size in enumerate(sizes)]
    made = list(report_events([(uuid4(), segment(0, "w" * text_size))], state, outputs))
    assert all(len(json.dumps(payload)) <= MAX_EVENT_BYTES for _, payload in made)
    sent = ProgressEvent.model_validate(made[-1][1]).outputs
    count = sum(one.content is not None for one in sent)
    first = len(sizes) - count
    assert list(sent[first:]) == outputs[first:]
    assert list(sent[:first]) == [one.model_copy(update={"content": None}) for one in outputs[:first]]
    assert count == len(sizes) or sum(sizes[first - 1 :]) > MAX_EVENT_BYTES - 3000


async def test_broadcast_keeps_the_segments_of_a_superseded_progress() -> None:
    harness = ReporterHarness()

    async def put(*indexes: int, text: str = "hello.") -> None:
        payload = progress_event(harness.claim.id)
        rows = [{"file_id": "f", "index": index, "text": text} for index in indexes]
        await harness.event_queue.put("progress", {**payload, "segments": rows})

    await put(0)
    await put()
    await put(1, 2)
    await put(3, text="w" * MAX_EVENT_BYTES)
    async with harness.running():
        await harness.event_queue.flush(5)
    assert [[row["index"] for row in payload["segments"]] for _, payload in harness.channel.sent] == [[0, 1, 2], [3]]


@pytest.mark.parametrize(
    ("exc", "failure"),
    [
        (FileError("corrupted_file", "x"), Failure("corrupted_file")),
        (SynthesisPermanentError("api_key_invalid", "x"), Failure("api_key_invalid")),
        (
            SynthesisTransientError("api_rate_limited", "x", 7.0),
            Failure("api_rate_limited", transient=True, retry_after_s=7),
        ),
        (Unavailable("x"), Failure("connection_lost", transient=True)),
        (DiskFull("x"), Failure("internal_error", transient=True, retry_after_s=60.0)),
        (ValueError("x"), Failure("internal_error", transient=True)),
    ],
)
def test_exception_maps_to_a_failure(exc: Exception, failure: Failure) -> None:
    assert failure_of(exc) == failure
