"""The reported ETA, over recordings that are transcribed on a simulated clock."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smelt.contract.work import SavedSegment
from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.model_queue import ModelQueue
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.transcriber import Passage
from smelt.processor.speed import SpeedEstimate, TranscriptionTimer
from smelt.processor.stages.pipeline import Pipeline
from smelt.processor.state import SmeltState
from smelt.processor.throttle import eta_changed, wait_before_report_s
from tests.unit.processor.fakes import claim, file_row

TOTAL_S = 600.0
SPAN_S = 120.0
SEGMENTS_A_WINDOW = 4
SHARES = (0.25, 0.5, 0.75)
MAX_ERROR = 0.2
# Beyond this share, an error of a second is a large part of the remaining time.
NEAR_THE_END = 0.8
SEGMENT = SavedSegment(index=0, start=0, end=1, text="hello.")


@dataclass(frozen=True)
class MachineSpeed:
    """The length of a window, and the undisturbed seconds of work per second of audio or speech."""

    window_s: float
    inference: float
    preparation: float
    cold: float = 3.0
    """How many times longer the first window and the first speech detection take."""
    uneven: float = 0.2
    """The maximum relative deviation of a window from the mean."""
    speech: tuple[float, ...] = (0.9,)
    """The share of speech in each span, repeated; the pauses come after it."""


MACHINES = {
    "the demo model": MachineSpeed(10, 0.03, 0.003),
    "a model that takes its time": MachineSpeed(30, 0.3, 0.004),
    "a model that is slower than speech": MachineSpeed(30, 1.5, 0.01, cold=1.2),
    "a graphics card that warms up": MachineSpeed(30, 0.02, 0.005, cold=4.0),
    "people who pause": MachineSpeed(10, 0.3, 0.004, speech=(0.55, 0.45)),
    # A step of four windows deviates less than one of them; only the first window is cold.
    "several windows at a time": MachineSpeed(120, 0.03, 0.004, cold=1.5, uneven=0.1),
}


def passages(machine: MachineSpeed, chance: random.Random) -> Iterator[tuple[float, Passage]]:
    """Yield the passages of the model, and the seconds since the previous one.

    All segments of a window come at once, then its end with the checkpoint of the next one.
    """
    slow = machine.cold
    for span in range(int(TOTAL_S / SPAN_S)):
        begin_s = span * SPAN_S
        speech_s = SPAN_S * machine.speech[span % len(machine.speech)]
        work_s = SPAN_S * machine.preparation * slow * chance.uniform(1 - machine.uneven, 1 + machine.uneven)
        yield work_s, Passage((), begin_s, START, prepared_s=SPAN_S, remaining_speech_s=speech_s)
        transcribed_s = 0.0
        while transcribed_s < speech_s:
            checkpoint = START.model_copy(update={"span_start": span, "seek": int(transcribed_s)})
            window_s = min(machine.window_s, speech_s - transcribed_s)
            work_s = window_s * machine.inference * slow * chance.uniform(1 - machine.uneven, 1 + machine.uneven)
            slow = 1.0
            for _ in range(SEGMENTS_A_WINDOW):
                transcribed_s += window_s / SEGMENTS_A_WINDOW
                left_s = max(0.0, speech_s - transcribed_s)
                yield work_s, Passage((SEGMENT,), begin_s + transcribed_s, checkpoint, remaining_speech_s=left_s)
                work_s = 0.0002
            following = checkpoint.model_copy(update={"seek": int(transcribed_s)})
            yield work_s, Passage((), begin_s + transcribed_s, following, remaining_speech_s=left_s)
        yield 0.0002, Passage((), begin_s + SPAN_S, START.model_copy(update={"span_start": span + 1}))


class Watcher:
    """Follows one recording as it is reported; `estimates` has share, ETA, and the time of the report."""

    def __init__(self, speed: SpeedEstimate) -> None:
        self.now_s = 0.0
        self.estimates: list[tuple[float, float | None, float]] = []
        self._timer = TranscriptionTimer(speed, TOTAL_S, 0.0, lambda: self.now_s)
        self._position_s = 0.0
        self._due_s: float | None = None
        self._reported_s: float | None = 0.0

    def follow(self, machine: MachineSpeed, seed: int) -> None:
        """Transcribe the whole recording."""
        for work_s, passage in passages(machine, random.Random(seed)):
            then_s = self.now_s + work_s
            self._report_until(then_s)
            self.now_s = then_s
            self._timer.add_passage(passage)
            self._position_s = passage.position_s
            if self._due_s is None:
                wait_s = wait_before_report_s(
                    now_s=self.now_s, last_report_s=self._reported_s, interval_s=1.0, urgent=False
                )
                self._due_s = self.now_s + wait_s

    def _report_until(self, then_s: float) -> None:
        if self._due_s is not None and self._due_s <= then_s:
            self._reported_s = self.now_s = self._due_s
            self._due_s = None
            self.estimates.append((self._position_s / TOTAL_S, self._timer.remaining_s, self.now_s))


def errors_from(share: float, watcher: Watcher) -> list[float]:
    """Return the relative error of each estimate from this share on."""
    estimates = [
        (eta_s, watcher.now_s - last_eta_s)
        for at, eta_s, last_eta_s in watcher.estimates
        if share <= at <= NEAR_THE_END
    ]
    return [abs(eta_s - left_s) / left_s for eta_s, left_s in estimates if eta_s is not None]


def error_at(share: float, watcher: Watcher) -> float:
    """Return the relative error of the first estimate from this share on."""
    return errors_from(share, watcher)[0]


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", range(10))
def test_eta_error_of_a_cold_worker_is_below_20_percent_after_a_quarter(name: str, seed: int) -> None:
    watcher = Watcher(SpeedEstimate())
    watcher.follow(MACHINES[name], seed)
    assert max(error_at(share, watcher) for share in SHARES) < MAX_ERROR


@pytest.mark.parametrize("name", MACHINES)
def test_eta_is_accurate_without_disturbance(name: str) -> None:
    watcher = Watcher(SpeedEstimate())
    watcher.follow(replace(MACHINES[name], cold=1, uneven=0, speech=(0.5,)), seed=0)
    assert max(errors_from(SHARES[0], watcher)) < 0.05


@pytest.mark.parametrize("name", MACHINES)
def test_eta_appears_with_the_first_windows_and_never_disappears(name: str) -> None:
    watcher = Watcher(SpeedEstimate())
    watcher.follow(MACHINES[name], seed=0)
    known = [eta_s is not None for _, eta_s, _ in watcher.estimates]
    assert known == sorted(known)
    assert all(eta_s is not None for share, eta_s, _ in watcher.estimates if share > 0.1)


@pytest.mark.parametrize("name", MACHINES)
def test_eta_of_a_warm_worker_is_accurate_from_the_start(name: str) -> None:
    speed = SpeedEstimate()
    Watcher(speed).follow(MACHINES[name], seed=1)
    watcher = Watcher(speed)
    watcher.follow(replace(MACHINES[name], cold=1), seed=2)
    assert error_at(0.0, watcher) < MAX_ERROR


def test_eta_adapts_to_a_machine_that_becomes_slower() -> None:
    speed, machine = SpeedEstimate(), MACHINES["a model that takes its time"]
    Watcher(speed).follow(machine, seed=1)
    busy = Watcher(speed)
    busy.follow(replace(machine, inference=machine.inference * 2, preparation=machine.preparation * 2, cold=1), seed=2)
    errors = [error_at(share, busy) for share in (0.0, *SHARES)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < MAX_ERROR


def test_eta_excludes_detected_silence() -> None:
    """The second half of the span is silence: once that is detected, it takes no time."""
    speed = SpeedEstimate(is_warm=True)
    speed.add_preparation(1000, 1000, 1)
    speed.add_inference(1000, 500)
    timer = TranscriptionTimer(speed, SPAN_S, 0.0, lambda: 0.0)
    timer.add_passage(Passage((), 0.0, START, prepared_s=SPAN_S, remaining_speech_s=SPAN_S / 2))
    assert timer.remaining_s == pytest.approx(SPAN_S / 2 * 0.5)


class QueuedWork:
    """Smelts of a worker that transcribes a second of speech in half a second, and takes 8 s for an output."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.speed = SpeedEstimate(output_s=8, is_warm=True)
        self.speed.add_preparation(1000, 1000, 0)
        self.speed.add_inference(1000, 500)
        self.services: Any = SimpleNamespace(speed=self.speed, model_queue=ModelQueue())

    def smelt(self, *rows: dict[str, Any], **more: Any) -> tuple[SmeltState, Pipeline]:
        state = SmeltState(claim(*rows, **more), lambda _: None)
        reporter: Any = SimpleNamespace(state=state)
        return state, Pipeline(reporter, self.services, Path())

    def begin(self, state: SmeltState) -> None:
        """Start the model on the first file, all of which is speech."""
        [file, *_] = state.files
        assert file.duration_s is not None
        file.timer = TranscriptionTimer(self.speed, file.duration_s, 0.0, lambda: self.now_s)
        file.timer.add_passage(Passage((), 0.0, START, prepared_s=file.duration_s, remaining_speech_s=file.duration_s))


async def test_eta_of_a_queued_smelt_includes_smelts_ahead_and_own_files() -> None:
    work = QueuedWork()
    first, first_pipeline = work.smelt(file_row(duration_seconds=100.0))
    second, second_pipeline = work.smelt(file_row(duration_seconds=60.0), file_row(position=1, duration_seconds=20.0))
    async with work.services.model_queue.lane(first_pipeline._stages[2].remaining_s):
        first.enter("transcribing")
        work.begin(first)
        work.now_s += 10
        assert first_pipeline.eta_s() == pytest.approx(50 - 10 + 8)
        assert second_pipeline.eta_s() == pytest.approx(50 - 10 + 40 + 2 * 8)
    second.enter("transcribing")
    # It has the slot, but the model has not started: however long it waited, all work remains.
    assert second_pipeline.eta_s() == pytest.approx(40 + 2 * 8)


def test_eta_excludes_audio_before_the_checkpoint() -> None:
    checkpoint = START.model_copy(update={"span_start": 60 * SAMPLE_RATE}).model_dump(mode="json")
    _, pipeline = QueuedWork().smelt(file_row(duration_seconds=100.0, checkpoint=checkpoint))
    assert pipeline.eta_s() == pytest.approx(40 * 0.5 + 8)


def test_eta_excludes_finished_outputs() -> None:
    done = [file_row(position=n, duration_seconds=100.0, transcribed=True) for n in range(2)]
    state, pipeline = QueuedWork().smelt(*done, default_prompt_names=["summarize", "qa_format"])
    assert pipeline.eta_s() == pytest.approx(4 * 8)
    state.enter("synthesizing")
    assert pipeline.eta_s() == pytest.approx(4 * 8)
    state.advance(state.files[0], 1.0)
    state.advance(state.files[1], 0.5)
    assert pipeline.eta_s() == pytest.approx(8)


def test_eta_uses_the_typical_output_time_until_one_is_measured() -> None:
    work = QueuedWork()
    work.speed.output_s = None
    work.services.synthesizer = SimpleNamespace(typical_s=10)
    _, pipeline = work.smelt(file_row(duration_seconds=100.0, transcribed=True))
    assert pipeline.eta_s() == 10
    work.speed.add_outputs(2, 60)
    assert pipeline.eta_s() == 30


def test_eta_is_absent_without_duration_or_speed() -> None:
    _, pipeline = QueuedWork().smelt(file_row(duration_seconds=100.0), file_row(position=1))
    assert pipeline.eta_s() is None
    work = QueuedWork()
    work.services.speed = SpeedEstimate()
    _, pipeline = work.smelt(file_row(duration_seconds=100.0))
    assert pipeline.eta_s() is None


@pytest.mark.parametrize(
    ("last_eta_s", "since_report_s", "eta_s", "changed"),
    [
        (100.0, 10.0, 90.0, False),
        (100.0, 10.0, 80.0, True),
        (100.0, 10.0, 97.0, False),
        (100.0, 10.0, 102.0, True),
        (5.0, 4.0, 2.5, False),
        (0.5, 60.0, 0.5, False),
        (None, 60.0, None, False),
        (None, 5.0, 90.0, True),
    ],
)
def test_eta_that_counts_down_as_expected_has_not_moved(
    last_eta_s: float | None, since_report_s: float, eta_s: float | None, changed: bool
) -> None:
    assert eta_changed(last_eta_s=last_eta_s, since_report_s=since_report_s, eta_s=eta_s) is changed


def test_hang_is_a_multiple_of_the_measured_time_and_at_least_ten_minutes() -> None:
    speed = SpeedEstimate(is_warm=True)
    assert speed.max_step_s(span_s=120, window_s=30) == 3600
    speed.add_preparation(120, 100, work_s=12)
    speed.add_inference(100, work_s=100)
    assert speed.max_step_s(span_s=120, window_s=30) == 600
    assert speed.max_step_s(span_s=120, window_s=300) == 20 * 300
    assert speed.max_step_s(span_s=12_000, window_s=30) == 20 * 1200
