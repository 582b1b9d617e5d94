"""The time remaining that a watcher is told, over recordings that are heard on a clock of the test's own."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from smelt.processor.pace import Hearing, Pace
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.transcriber import Passage
from smelt.processor.throttle import wait_before_report_s

TOTAL_S = 600.0
SPAN_S = 120.0
SEGMENTS_A_WINDOW = 4
SHARES = (0.25, 0.5, 0.75)
PROMISED = 0.2
# After that a second more or less is a large share of what is left.
NEAR_THE_END = 0.8


@dataclass(frozen=True)
class Machine:
    """How long a window is, and what a second of audio takes when nothing disturbs."""

    window_s: float
    hearing: float
    preparing: float
    cold: float = 3.0
    """How many times longer the first window takes, and the first look for speech."""
    uneven: float = 0.25
    """How much longer or shorter than the mean a window may take."""


MACHINES = {
    "the demo model": Machine(10, 0.03, 0.003),
    "a model that takes its time": Machine(30, 0.3, 0.004),
    "a model that is slower than speech": Machine(30, 1.5, 0.01, cold=1.2),
    "a graphics card that warms up": Machine(30, 0.01, 0.005, cold=4.0),
}


def passages(machine: Machine, chance: random.Random) -> Iterator[tuple[float, Passage]]:
    """What comes from the model, and how long after the one before: a window's segments all at once."""
    slow = machine.cold
    for span in range(int(TOTAL_S / SPAN_S)):
        begin_s = span * SPAN_S
        work_s = SPAN_S * machine.preparing * slow * chance.uniform(1 - machine.uneven, 1 + machine.uneven)
        yield work_s, Passage((), begin_s, START, prepared_s=SPAN_S)
        for window in range(int(SPAN_S / machine.window_s)):
            checkpoint = START.model_copy(update={"span_start": span, "seek": window})
            work_s = machine.window_s * machine.hearing * slow * chance.uniform(1 - machine.uneven, 1 + machine.uneven)
            slow = 1.0
            heard_s = machine.window_s / SEGMENTS_A_WINDOW
            for number in range(1, SEGMENTS_A_WINDOW + 1):
                position_s = begin_s + window * machine.window_s + number * heard_s
                yield work_s, Passage((), position_s, checkpoint, heard_s=heard_s)
                work_s = 0.0002


class Watcher:
    """Follows one recording as the worker reports it; `estimates` has share, seconds told, and when."""

    def __init__(self, pace: Pace) -> None:
        self.now_s = 0.0
        self.estimates: list[tuple[float, float | None, float]] = []
        self._pace = pace
        self._hearing = Hearing(pace, lambda: self.now_s)
        self._position_s = 0.0
        self._due_s: float | None = None
        self._reported_s: float | None = 0.0

    def follow(self, machine: Machine, seed: int) -> None:
        """Hear all of it."""
        self._hearing.begin()
        for work_s, passage in passages(machine, random.Random(seed)):
            then_s = self.now_s + work_s
            self._report_until(then_s)
            self.now_s = then_s
            self._hearing.take(passage)
            self._position_s = passage.position_s
            if self._due_s is None:
                wait_s = wait_before_report_s(now_s=self.now_s, last_report_s=self._reported_s, urgent=False)
                self._due_s = self.now_s + wait_s
        self.now_s += self._pace.synthesis_s

    def _report_until(self, then_s: float) -> None:
        if self._due_s is not None and self._due_s <= then_s:
            self._reported_s = self.now_s = self._due_s
            self._due_s = None
            self.estimates.append((self._position_s / TOTAL_S, self._eta_s, self.now_s))

    @property
    def _eta_s(self) -> float | None:
        return self._pace.eta_s(
            audio_left_s=TOTAL_S - self._position_s,
            prepared_s=self._hearing.prepared_left_s,
            since_heard_s=self._hearing.since_heard_s,
        )


def errors_from(share: float, watcher: Watcher) -> list[float]:
    """How far each estimate from this share on is off."""
    told = [(eta_s, watcher.now_s - told_s) for at, eta_s, told_s in watcher.estimates if share <= at <= NEAR_THE_END]
    return [abs(eta_s - left_s) / left_s for eta_s, left_s in told if eta_s is not None]


def error_at(share: float, watcher: Watcher) -> float:
    """How far the first estimate from this share on is off."""
    return errors_from(share, watcher)[0]


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("seed", range(10))
def test_an_estimate_of_a_cold_worker_is_near_the_truth_from_a_quarter_on(name: str, seed: int) -> None:
    watcher = Watcher(Pace())
    watcher.follow(MACHINES[name], seed)
    assert max(error_at(share, watcher) for share in SHARES) < PROMISED


@pytest.mark.parametrize("name", MACHINES)
def test_an_estimate_is_the_truth_where_nothing_disturbs(name: str) -> None:
    watcher = Watcher(Pace())
    watcher.follow(replace(MACHINES[name], cold=1, uneven=0), seed=0)
    assert max(errors_from(SHARES[0], watcher)) < 0.05


@pytest.mark.parametrize("name", MACHINES)
def test_an_estimate_is_given_with_the_first_windows_and_never_taken_back(name: str) -> None:
    watcher = Watcher(Pace())
    watcher.follow(MACHINES[name], seed=0)
    known = [eta_s is not None for _, eta_s, _ in watcher.estimates]
    assert known == sorted(known)
    assert all(eta_s is not None for share, eta_s, _ in watcher.estimates if share > 0.1)


@pytest.mark.parametrize("name", MACHINES)
def test_a_worker_that_knows_its_machine_tells_at_once(name: str) -> None:
    pace = Pace()
    Watcher(pace).follow(MACHINES[name], seed=1)
    watcher = Watcher(pace)
    watcher.follow(replace(MACHINES[name], cold=1), seed=2)
    assert error_at(0.0, watcher) < PROMISED


def test_a_machine_that_gets_busy_is_noticed_within_minutes_of_audio() -> None:
    pace, machine = Pace(), MACHINES["a model that takes its time"]
    Watcher(pace).follow(machine, seed=1)
    busy = Watcher(pace)
    busy.follow(replace(machine, hearing=machine.hearing * 2, preparing=machine.preparing * 2, cold=1), seed=2)
    errors = [error_at(share, busy) for share in (0.0, *SHARES)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < PROMISED
