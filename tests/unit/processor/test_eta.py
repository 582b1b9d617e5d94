"""The time remaining that a watcher is told, over recordings that are heard on a clock of the test's own."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import claim, file_row

from smelt.contract.work import SavedSegment
from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.model_queue import ModelQueue
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.transcriber import Passage
from smelt.processor.speed import SpeedEstimate, TranscriptionTimer
from smelt.processor.stages import Stages
from smelt.processor.state import SmeltState
from smelt.processor.throttle import has_moved, wait_before_report_s

TOTAL_S = 600.0
SPAN_S = 120.0
SEGMENTS_A_WINDOW = 4
SHARES = (0.25, 0.5, 0.75)
MAX_ERROR = 0.2
# After that a second more or less is a large share of what is left.
NEAR_THE_END = 0.8
SEGMENT = SavedSegment(index=0, start=0, end=1, text="hello.")


@dataclass(frozen=True)
class MachineSpeed:
    """How long a window is, and what a second of audio or speech takes when nothing disturbs."""

    window_s: float
    hearing: float
    preparing: float
    cold: float = 3.0
    """How many times longer the first window takes, and the first look for speech."""
    uneven: float = 0.2
    """How much longer or shorter than the mean a window may take."""
    speech: tuple[float, ...] = (0.9,)
    """How much of each span is speech, over and over; the pauses come after it."""


MACHINES = {
    "the demo model": MachineSpeed(10, 0.03, 0.003),
    "a model that takes its time": MachineSpeed(30, 0.3, 0.004),
    "a model that is slower than speech": MachineSpeed(30, 1.5, 0.01, cold=1.2),
    "a graphics card that warms up": MachineSpeed(30, 0.02, 0.005, cold=4.0),
    "people who pause": MachineSpeed(10, 0.3, 0.004, speech=(0.55, 0.45)),
}


def passages(machine: MachineSpeed, chance: random.Random) -> Iterator[tuple[float, Passage]]:
    """What comes from the model, and how long after the one before: a window's segments all at once."""
    slow = machine.cold
    for span in range(int(TOTAL_S / SPAN_S)):
        begin_s = span * SPAN_S
        speech_s = SPAN_S * machine.speech[span % len(machine.speech)]
        work_s = SPAN_S * machine.preparing * slow * chance.uniform(1 - machine.uneven, 1 + machine.uneven)
        yield work_s, Passage((), begin_s, START, prepared_s=SPAN_S, speech_left_s=speech_s)
        heard_s = 0.0
        while heard_s < speech_s:
            checkpoint = START.model_copy(update={"span_start": span, "seek": int(heard_s)})
            window_s = min(machine.window_s, speech_s - heard_s)
            work_s = window_s * machine.hearing * slow * chance.uniform(1 - machine.uneven, 1 + machine.uneven)
            slow = 1.0
            for _ in range(SEGMENTS_A_WINDOW):
                heard_s += window_s / SEGMENTS_A_WINDOW
                left_s = max(0.0, speech_s - heard_s)
                yield work_s, Passage((SEGMENT,), begin_s + heard_s, checkpoint, speech_left_s=left_s)
                work_s = 0.0002
        yield 0.0002, Passage((), begin_s + SPAN_S, START.model_copy(update={"span_start": span + 1}))


class Watcher:
    """Follows one recording as the worker reports it; `estimates` has share, seconds told, and when."""

    def __init__(self, pace: SpeedEstimate) -> None:
        self.now_s = 0.0
        self.estimates: list[tuple[float, float | None, float]] = []
        self._hearing = TranscriptionTimer(pace, TOTAL_S, 0.0, lambda: self.now_s)
        self._position_s = 0.0
        self._due_s: float | None = None
        self._reported_s: float | None = 0.0

    def follow(self, machine: MachineSpeed, seed: int) -> None:
        """Hear all of it."""
        for work_s, passage in passages(machine, random.Random(seed)):
            then_s = self.now_s + work_s
            self._report_until(then_s)
            self.now_s = then_s
            self._hearing.take(passage)
            self._position_s = passage.position_s
            if self._due_s is None:
                wait_s = wait_before_report_s(now_s=self.now_s, last_report_s=self._reported_s, urgent=False)
                self._due_s = self.now_s + wait_s

    def _report_until(self, then_s: float) -> None:
        if self._due_s is not None and self._due_s <= then_s:
            self._reported_s = self.now_s = self._due_s
            self._due_s = None
            self.estimates.append((self._position_s / TOTAL_S, self._hearing.left_s, self.now_s))


def errors_from(share: float, watcher: Watcher) -> list[float]:
    """How far each estimate from this share on is off."""
    told = [(eta_s, watcher.now_s - told_s) for at, eta_s, told_s in watcher.estimates if share <= at <= NEAR_THE_END]
    return [abs(eta_s - left_s) / left_s for eta_s, left_s in told if eta_s is not None]


def error_at(share: float, watcher: Watcher) -> float:
    """How far the first estimate from this share on is off."""
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
    pace = SpeedEstimate()
    Watcher(pace).follow(MACHINES[name], seed=1)
    watcher = Watcher(pace)
    watcher.follow(replace(MACHINES[name], cold=1), seed=2)
    assert error_at(0.0, watcher) < MAX_ERROR


def test_eta_adapts_to_a_machine_that_becomes_slower() -> None:
    pace, machine = SpeedEstimate(), MACHINES["a model that takes its time"]
    Watcher(pace).follow(machine, seed=1)
    busy = Watcher(pace)
    busy.follow(replace(machine, hearing=machine.hearing * 2, preparing=machine.preparing * 2, cold=1), seed=2)
    errors = [error_at(share, busy) for share in (0.0, *SHARES)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < MAX_ERROR


def test_eta_excludes_detected_silence() -> None:
    """The second half of a span is silence: once it is looked at, nothing of it is left to be heard."""
    pace = SpeedEstimate(is_warm=True)
    pace.prepared(1000, 1000, 1)
    pace.heard(1000, 500)
    hearing = TranscriptionTimer(pace, SPAN_S, 0.0, lambda: 0.0)
    hearing.take(Passage((), 0.0, START, prepared_s=SPAN_S, speech_left_s=SPAN_S / 2))
    assert hearing.left_s == pytest.approx(SPAN_S / 2 * 0.5)


class QueuedWork:
    """Smelts of a worker that hears a second of speech in half a second, and takes eight for an output."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pace = SpeedEstimate(output_s=8, is_warm=True)
        self.pace.prepared(1000, 1000, 0)
        self.pace.heard(1000, 500)
        self.tools: Any = SimpleNamespace(pace=self.pace, turns=ModelQueue())

    def smelt(self, *rows: dict[str, Any], **more: Any) -> tuple[SmeltState, Stages]:
        state = SmeltState(claim(*rows, **more), lambda _: None)
        return state, Stages(state, self.tools, Path())

    def begin(self, state: SmeltState) -> None:
        """The model begins with the first file, of which all is speech."""
        [file, *_] = state.files
        assert file.duration_s is not None
        file.hearing = TranscriptionTimer(self.pace, file.duration_s, 0.0, lambda: self.now_s)
        file.hearing.take(Passage((), 0.0, START, prepared_s=file.duration_s, speech_left_s=file.duration_s))


async def test_eta_of_a_queued_smelt_includes_smelts_ahead_and_own_files() -> None:
    line = QueuedWork()
    first, first_stages = line.smelt(file_row(duration_seconds=100.0))
    second, second_stages = line.smelt(file_row(duration_seconds=60.0), file_row(position=1, duration_seconds=20.0))
    async with line.tools.turns.turn(first_stages._hearing_s):
        first.enter("transcribing")
        line.begin(first)
        line.now_s += 10
        assert first_stages.eta_s() == pytest.approx(50 - 10 + 8)
        assert second_stages.eta_s() == pytest.approx(50 - 10 + 40 + 2 * 8)
    second.enter("transcribing")
    # Its turn, but the model is not at it yet: however long it has waited, all is still to be done.
    assert second_stages.eta_s() == pytest.approx(40 + 2 * 8)


def test_eta_excludes_audio_before_the_checkpoint() -> None:
    checkpoint = START.model_copy(update={"span_start": 60 * SAMPLE_RATE}).model_dump(mode="json")
    _, stages = QueuedWork().smelt(file_row(duration_seconds=100.0, checkpoint=checkpoint))
    assert stages.eta_s() == pytest.approx(40 * 0.5 + 8)


def test_eta_excludes_finished_outputs() -> None:
    done = [file_row(position=n, duration_seconds=100.0, transcribed=True) for n in range(2)]
    state, stages = QueuedWork().smelt(*done, default_prompt_names=["summarize", "qa_format"])
    assert stages.eta_s() == pytest.approx(4 * 8)
    state.enter("synthesizing")
    assert stages.eta_s() == pytest.approx(4 * 8)
    state.advance(state.files[0], 1.0)
    state.advance(state.files[1], 0.5)
    assert stages.eta_s() == pytest.approx(8)


def test_eta_uses_the_typical_output_time_until_one_is_measured() -> None:
    line = QueuedWork()
    line.pace.output_s = None
    line.tools.synthesizer = SimpleNamespace(typical_s=10)
    _, stages = line.smelt(file_row(duration_seconds=100.0, transcribed=True))
    assert stages.eta_s() == 10
    line.pace.wrote(2, 60)
    assert stages.eta_s() == 30


def test_eta_is_absent_without_duration_or_speed() -> None:
    _, stages = QueuedWork().smelt(file_row(duration_seconds=100.0), file_row(position=1))
    assert stages.eta_s() is None
    line = QueuedWork()
    line.tools.pace = SpeedEstimate()
    _, stages = line.smelt(file_row(duration_seconds=100.0))
    assert stages.eta_s() is None


@pytest.mark.parametrize(
    ("told_s", "since_told_s", "eta_s", "moved"),
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
    told_s: float | None, since_told_s: float, eta_s: float | None, moved: bool
) -> None:
    assert has_moved(told_s=told_s, since_told_s=since_told_s, eta_s=eta_s) is moved
