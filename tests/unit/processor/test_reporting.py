"""Reports and broadcasts: nothing is lost, nothing is repeated, nothing is said after the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from fakes import FakeChannel, FakeProject, FakeRpc, claim, file_row, progress_event
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.worker_calls import WorkerCalls
from smelt.contract.events import ProgressEvent, SegmentsEvent
from smelt.contract.work import Claim, SavedSegment, Verdict
from smelt.errors import Unavailable
from smelt.processor.announcing import Announcer
from smelt.processor.faults import FileFault, NoSpace, SynthesisPassing, SynthesisRefused
from smelt.processor.leases import Leases
from smelt.processor.outcome import Failure, failure_of
from smelt.processor.reporting import Reporter
from smelt.processor.segment_events import MOST_BYTES, pieces, segment_events
from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.state import SmeltState
from smelt.processor.voice import Voice

CHECKPOINT = Checkpoint(span_start=0, seek=100, segment_count=1)


def segment(index: int, text: str = "hello.") -> SavedSegment:
    return SavedSegment(index=index, start=float(index), end=index + 1.0, text=text, avg_logprob=-0.1)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - The condition is about fakes, which tell nobody.
            await asyncio.sleep(0.005)


class Bench:
    """A reporter whose database answers what the test says."""

    def __init__(self, claimed: Claim | None = None) -> None:
        self.claim = claimed or claim()
        self.verdict: Verdict = "go_on"
        self.failures = 0
        self.silent = False
        self.eta_s: float | None = 12.5
        self.considered = 0
        self.verdicts: list[Verdict] = []
        self.rpc = FakeRpc(self._answer)
        self.project = FakeProject(self.rpc)
        self.channel = FakeChannel()
        announcer = Announcer(self.project, "w")  # type: ignore[arg-type]
        self.voice = Voice(announcer, self.channel)  # type: ignore[arg-type]
        self.reporter = Reporter(
            self.claim,
            WorkerCalls(self.rpc),  # type: ignore[arg-type]
            self.voice,
            lease_s=30,
            on_verdict=self.verdicts.append,
            eta_s=self._estimate,
        )
        self.state = self.reporter.state

    @property
    def reports(self) -> list[dict[str, Any]]:
        return self.rpc.named("report_progress")

    def _estimate(self) -> float | None:
        self.considered += 1
        return self.eta_s

    def _answer(self, function: str, arguments: dict[str, Any]) -> Any:
        assert function == "report_progress"
        if self.failures:
            self.failures -= 1
            raise Unavailable("gone for a moment")
        event = progress_event(self.claim.id, arguments["status"], arguments["percentage"])
        return {"verdict": self.verdict, "event": None if self.silent or self.verdict != "go_on" else event}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.reporter.keep_reporting()), asyncio.create_task(self.voice.keep_sending())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_a_change_of_stage_is_reported_at_once_and_the_rest_within_a_second() -> None:
    bench = Bench()
    file = bench.state.files[0]
    async with bench.running():
        bench.state.enter("validating")
        await until(lambda: len(bench.reports) == 1)
        for share in (0.1, 0.2, 0.3):
            bench.state.advance(file, share)
        bench.state.enter("decoding")
        await until(lambda: len(bench.reports) == 2)
        for share in range(1, 50):
            bench.state.advance(file, share / 100)
            await asyncio.sleep(0)
        await until(lambda: len(bench.reports) == 3)
        await until(lambda: len(bench.channel.sent) == 3)
    assert [report["percentage"] for report in bench.reports] == [0.0, 10.0, 14.9]
    assert [event for event, _ in bench.channel.sent] == ["progress"] * 3


async def test_who_waits_is_told_when_it_will_be_longer_or_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smelt.processor.reporting.RECONSIDER_EVERY_S", 0.01)
    bench = Bench()
    bench.eta_s = 10_000.0
    async with bench.running():
        bench.state.enter("decoding")
        for count, eta_s in enumerate((20_000.0, 5_000.0), start=1):
            await until(lambda count=count: len(bench.reports) == count)
            bench.eta_s = eta_s
        await until(lambda: len(bench.reports) == 3)
        considered = bench.considered
        await until(lambda: bench.considered > considered + 5)
    assert [report["eta_seconds"] for report in bench.reports] == [10_000.0, 20_000.0, 5_000.0]


def test_without_a_change_nothing_is_said() -> None:
    told: list[bool] = []
    state = SmeltState(claim(), told.append)
    state.enter("validating")
    for share in (0.5, 0.5, 0.2):
        state.advance(state.files[0], share)
    assert told == [True, False]


async def test_segments_and_their_checkpoint_travel_in_one_report_each_once() -> None:
    bench = Bench()
    file = bench.state.files[0]
    bench.state.enter("transcribing")
    bench.state.learn(file, (segment(0),), CHECKPOINT, 0.1)
    await bench.reporter.flush()
    await bench.reporter.flush()
    first, second = bench.reports
    assert [row["index"] for row in first["segments"]] == [0]
    assert first["files"][0]["checkpoint"] == CHECKPOINT.model_dump(mode="json")
    assert second["segments"] == []
    assert second["files"] == []


async def test_what_was_not_confirmed_is_reported_again() -> None:
    bench = Bench()
    file = bench.state.files[0]
    bench.state.enter("transcribing")
    bench.failures = 1
    async with bench.running():
        bench.state.learn(file, (segment(0),), CHECKPOINT, 0.1)
        await until(lambda: len(bench.reports) == 1)
        bench.state.learn(file, (segment(1),), CHECKPOINT, 0.2)
        await until(lambda: len(bench.reports) == 2)
    assert [row["index"] for row in bench.reports[1]["segments"]] == [0, 1]


@pytest.mark.parametrize("verdict", ["lost", "cancelled"])
async def test_after_a_verdict_nothing_is_broadcast(verdict: Verdict) -> None:
    bench = Bench()
    bench.verdict = verdict
    async with bench.running():
        bench.state.learn(bench.state.files[0], (segment(0),), CHECKPOINT, 0.1)
        await until(lambda: bench.verdicts)
    assert bench.verdicts == [verdict]
    assert bench.channel.sent == []
    assert bench.project.realtime.posted == []


async def test_what_no_watcher_can_see_is_not_broadcast() -> None:
    bench = Bench()
    bench.silent = True
    await bench.reporter.flush()
    await bench.voice.finish(30)
    assert bench.channel.sent == []


async def test_segments_are_broadcast_before_the_progress_they_belong_to() -> None:
    bench = Bench()
    async with bench.running():
        bench.state.learn(bench.state.files[0], (segment(0), segment(1)), CHECKPOINT, 0.1)
        await until(lambda: len(bench.channel.sent) == 2)
    (first, payload), (second, _) = bench.channel.sent
    assert (first, second) == ("segments", "progress")
    event = SegmentsEvent.model_validate(payload)
    assert [found.index for found in event.segments] == [0, 1]
    assert event.seq == 5
    assert "avg_logprob" not in payload["segments"][0]


async def test_a_slow_network_gets_the_newest_progress_of_a_stage() -> None:
    bench = Bench()
    for percentage in (21.0, 22.0, 23.0):
        await bench.voice.say("progress", progress_event(bench.claim.id, "transcribing", percentage))
    await bench.voice.say("progress", progress_event(bench.claim.id, "synthesizing", 70.0))
    async with bench.running():
        await bench.voice.finish(5)
    assert [payload["progress"]["percentage"] for _, payload in bench.channel.sent] == [23.0, 70.0]


async def test_last_words_wait_no_longer_than_they_may() -> None:
    bench = Bench()
    await bench.voice.say("progress", progress_event(bench.claim.id))
    await bench.voice.finish(0.05)
    async with bench.running():
        await bench.voice.finish(1)
    assert bench.channel.sent == []


async def test_rest_takes_over_where_the_channel_does_not_acknowledge() -> None:
    rpc = FakeRpc(lambda *_: None)
    project = FakeProject(rpc)
    announcer = Announcer(project, "w")  # type: ignore[arg-type]
    for channel in (FakeChannel(joined=False), FakeChannel(acknowledges=False), None):
        assert await announcer.deliver("smelt:x", "progress", {}, channel)  # type: ignore[arg-type]
    assert len(project.realtime.posted) == 3
    project.realtime.error = Unavailable("no")
    assert not await announcer.deliver("smelt:x", "progress", {}, None)


async def test_the_outbox_is_struck_off_only_for_what_was_acknowledged() -> None:
    owed = [
        {"id": 1, "event_id": str(uuid4()), "topic": "smelt:x", "event": "completed", "payload": {"n": 1}},
        {"id": 2, "event_id": str(uuid4()), "topic": "notifications:u", "event": "new_notification", "payload": {}},
    ]
    rpc = FakeRpc(lambda function, _: owed if function == "claim_outbox" else {"settled": 1})
    project = FakeProject(rpc)
    channel = FakeChannel("smelt:x")
    announcer = Announcer(project, "w")  # type: ignore[arg-type]
    project.realtime.error = Unavailable("no")
    await announcer.announce(uuid4(), channel)  # type: ignore[arg-type]
    assert channel.sent == [("completed", {"n": 1})]
    assert rpc.named("settle_outbox") == [{"ids": [1]}]


async def test_an_outbox_that_can_not_be_read_is_left_to_a_sweep() -> None:
    def answer(*_: Any) -> Any:
        raise Unavailable("no")

    await Announcer(FakeProject(FakeRpc(answer)), "w").announce(uuid4(), None)  # type: ignore[arg-type]


async def test_a_sweep_goes_on_until_nothing_is_owed_and_stops_when_nothing_gets_out() -> None:
    message = {"id": 1, "event_id": str(uuid4()), "topic": "batch:b", "event": "progress", "payload": {}}
    answers = [[message], [message], []]
    rpc = FakeRpc(lambda function, _: answers.pop(0) if function == "claim_outbox" else {"settled": 1})
    project = FakeProject(rpc)
    announcer = Announcer(project, "w")  # type: ignore[arg-type]
    await announcer.sweep()
    assert answers == []
    assert len(project.realtime.posted) == 2
    answers.extend([[message], [message]])
    project.realtime.error = Unavailable("no")
    await announcer.sweep()
    assert len(answers) == 1


async def test_verdicts_reach_the_holder_of_that_attempt_alone() -> None:
    held, stale = claim(attempt=4), claim(attempt=2)
    answers = [(held, 4, "cancelled"), (stale, 1, "lost")]
    rpc = FakeRpc(
        lambda *_: {
            "leases": [
                {"smelt_id": str(c.id), "attempt": attempt, "verdict": verdict} for c, attempt, verdict in answers
            ]
        }
    )
    leases = Leases(WorkerCalls(rpc), "w", 30)  # type: ignore[arg-type]
    heard: list[tuple[str, Verdict]] = []
    await leases.renew()
    assert rpc.calls == []
    leases.hold(held, lambda verdict: heard.append(("held", verdict)))
    leases.hold(stale, lambda verdict: heard.append(("stale", verdict)))
    await leases.renew()
    assert heard == [("held", "cancelled")]
    leases.drop(held)
    leases.drop(held)
    await leases.renew()
    assert [lease["attempt"] for lease in rpc.calls[-1][1]["leases"]] == [2]


async def test_renewing_survives_an_outage_and_comes_at_once_when_asked() -> None:
    answers: list[Any] = [Unavailable("no"), {"leases": []}]

    def answer(*_: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    rpc = FakeRpc(answer)
    leases = Leases(WorkerCalls(rpc), "w", 30)  # type: ignore[arg-type]
    leases.hold(claim(), lambda _: None)
    task = asyncio.create_task(leases.keep_renewing())
    for count in (1, 2):
        leases.renew_now()
        await until(lambda count=count: len(rpc.calls) == count)
    task.cancel()
    await asyncio.wait([task])


def test_a_failed_file_stays_where_it_was_given_up() -> None:
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


def test_transcribed_files_count_as_done_until_synthesis() -> None:
    done = file_row(transcribed=True, duration_seconds=30.0)
    state = SmeltState(claim(done, file_row(position=1, duration_seconds=10.0), percentage=90.0), lambda _: None)
    state.enter("transcribing")
    assert state.percentage == pytest.approx(20 + 50 * 0.75)
    assert state.draft().message == "Resuming..."
    state.enter("synthesizing")
    assert state.percentage == 70.0


def test_what_is_written_is_saved_with_the_place_where_the_transcript_ends() -> None:
    place = CHECKPOINT.model_dump(mode="json")
    row = file_row(transcribed=True, duration_seconds=30.0, checkpoint=place | {"outputs": {"a": "Anna."}})
    state = SmeltState(claim(row), lambda _: None)
    [file] = state.files
    assert (file.start, file.outputs) == (CHECKPOINT, {"a": "Anna."})
    state.enter("synthesizing")
    state.confirm(state.draft())
    assert "checkpoint" not in state.draft().files[0]
    file.outputs["b"] = "Ben."
    assert state.draft().files[0]["checkpoint"] == place | {"outputs": {"a": "Anna.", "b": "Ben."}}
    # A text is nowhere in a recording.
    text = SmeltState(claim(file_row(input_type="text", checkpoint=None)), lambda _: None)
    assert "checkpoint" not in text.draft().files[0]
    text.files[0].outputs["a"] = "Anna."
    assert text.draft().files[0]["checkpoint"]["outputs"] == {"a": "Anna."}


def test_what_failed_before_stays_failed() -> None:
    state = SmeltState(claim(file_row(status="failed"), file_row(position=1)), lambda _: None)
    assert [file.failed for file in state.files] == [True, False]


@given(st.lists(st.text(max_size=3000), max_size=80), st.integers(200, 5000))
def test_pieces_keep_everything_in_order_and_fit(texts: list[str], most_bytes: int) -> None:
    rows: list[dict[str, Any]] = [{"index": index, "text": text} for index, text in enumerate(texts)]
    made = list(pieces(rows, most_bytes))
    assert [row for piece in made for row in piece] == rows
    for piece in made:
        assert len(piece) == 1 or len(json.dumps(piece)) <= most_bytes


def test_an_event_of_segments_fits_into_a_broadcast() -> None:
    smelt_id, files = uuid4(), (uuid4(), uuid4())
    state = ProgressEvent.model_validate(progress_event(smelt_id))
    heard = [(file_id, segment(index, "word " * 200)) for file_id in files for index in range(200)]
    made = list(segment_events(heard, state))
    assert len(made) > 4
    assert all(len(json.dumps(payload)) <= MOST_BYTES for payload in made)
    assert len({payload["event_id"] for payload in made}) == len(made)
    indexes = {str(f): [s["index"] for p in made if p["file_id"] == str(f) for s in p["segments"]] for f in files}
    assert indexes == {str(file_id): list(range(200)) for file_id in files}


@pytest.mark.parametrize(
    ("exc", "failure"),
    [
        (FileFault("corrupted_file", "x"), Failure("corrupted_file")),
        (SynthesisRefused("api_key_invalid", "x"), Failure("api_key_invalid")),
        (SynthesisPassing("api_rate_limited", "x", 7.0), Failure("api_rate_limited", transient=True, retry_after_s=7)),
        (Unavailable("x"), Failure("connection_lost", transient=True)),
        (NoSpace("x"), Failure("internal_error", transient=True, retry_after_s=60.0)),
        (ValueError("x"), Failure("internal_error", transient=True)),
    ],
)
def test_an_exception_means_a_failure(exc: Exception, failure: Failure) -> None:
    assert failure_of(exc) == failure
