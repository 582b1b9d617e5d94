"""Percentages, throttling, polling and speed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.vocabulary import PERCENT_RANGES, STAGE_MESSAGES, STAGES, Status
from smelt.processor.polling import poll_wait_s
from smelt.processor.progress import RESUMING, FilePosition, message, overall_share, percentage
from smelt.processor.speed import SpeedEstimate, SpeedRate
from smelt.processor.throttle import GATHER_S, report_interval_s, wait_before_report_s

shares = st.floats(-1, 2)


@given(st.sampled_from(STAGES), shares)
def test_percentage_is_in_the_range_of_its_stage(stage: Status, share: float) -> None:
    low, high = PERCENT_RANGES[stage]
    assert low <= percentage(stage, share) <= high


@given(st.sampled_from(STAGES), shares, shares)
def test_percentage_grows_with_the_share(stage: Status, one: float, other: float) -> None:
    assert percentage(stage, min(one, other)) <= percentage(stage, max(one, other))


def test_percentage_is_continuous_between_stages() -> None:
    for before, after in pairwise(stage for stage in STAGES if stage != "pending"):
        assert percentage(before, 1.0) == percentage(after, 0.0)


@given(st.lists(st.builds(FilePosition, share=shares, weight=st.floats(0, 1e9)), max_size=5))
def test_overall_share_is_between_0_and_1(files: list[FilePosition]) -> None:
    assert 0.0 <= overall_share(files) <= 1.0


def test_overall_share_is_weighted_by_file() -> None:
    assert overall_share([FilePosition(1.0, 30.0), FilePosition(0.0, 10.0)]) == 0.75
    assert overall_share([]) == 0.0


def test_message_is_resuming_below_the_saved_percentage() -> None:
    assert message("transcribing", 30.0, 50.0) == RESUMING
    assert message("transcribing", 50.0, 50.0) == STAGE_MESSAGES["transcribing"]


def test_message_names_the_output_that_is_being_written() -> None:
    assert message("synthesizing", 75.0, 70.0, "Summary (1 of 2)") == "Generating output: Summary (1 of 2)..."
    assert message("synthesizing", 75.0, 70.0, " A\n" * 200) == f"Generating output: {'A ' * 50}..."
    assert message("synthesizing", 75.0, 80.0, "Summary") == RESUMING
    assert message("synthesizing", 75.0, 70.0) == STAGE_MESSAGES["synthesizing"]


@pytest.mark.parametrize(
    ("now_s", "last_report_s", "urgent", "wait_s"),
    [(10.0, None, False, GATHER_S), (10.0, 9.9, True, 0.0), (10.0, 9.75, False, 0.75), (10.0, 3.0, False, GATHER_S)],
)
def test_throttle_delays_reports_unless_urgent(
    now_s: float, last_report_s: float | None, urgent: bool, wait_s: float
) -> None:
    wait = wait_before_report_s(now_s=now_s, last_report_s=last_report_s, interval_s=1.0, urgent=urgent)
    assert wait == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("audio_s", "interval_s"),
    [(0, 1.0), (600, 1.0), (2100, 1.5), (3600, 2.0), (12_600, 3.5), (21_600, 5.0), (90_000, 5.0)],
)
def test_report_interval_grows_with_the_recording(audio_s: float, interval_s: float) -> None:
    assert report_interval_s(audio_s) == pytest.approx(interval_s)


@pytest.mark.parametrize(
    ("joined", "since_wake_s", "next_due_in_s", "wait_s"),
    [
        (False, None, None, 5.0),
        (False, 1.0, None, 5.0),
        (True, None, None, 12.5),
        (True, 61.0, None, 12.5),
        (True, 59.0, None, 30.0),
        (True, 1.0, 3.0, 3.1),
        (True, 1.0, 0.0, 0.2),
        (True, 1.0, -4.0, 0.2),
        (False, None, 3600.0, 5.0),
    ],
)
def test_polling_interval_of_an_idle_worker_follows_freshness(
    joined: bool, since_wake_s: float | None, next_due_in_s: float | None, wait_s: float
) -> None:
    found = poll_wait_s(joined=joined, since_wake_s=since_wake_s, next_due_in_s=next_due_in_s, jitter=0.5)
    assert found == pytest.approx(wait_s)


def test_speed_estimate_needs_measurements() -> None:
    speed = SpeedEstimate()
    assert speed.transcription_s(audio_s=60) is None
    speed.add_inference(10, 5)
    assert speed.transcription_s(audio_s=60) is None
    speed.add_preparation(100, 80, 10)
    assert speed.transcription_s(audio_s=0) == 0
    assert speed.transcription_s(audio_s=0, speech_s=60) == pytest.approx(30)
    assert speed.transcription_s(audio_s=60) == pytest.approx(6 + 0.8 * 30)
    assert speed.transcription_s(audio_s=60, speech_s=60) == pytest.approx(6 + 0.8 * 30 + 30)


def test_speed_estimate_adapts_to_changes() -> None:
    speed = SpeedEstimate()
    for _ in range(100):
        speed.add_inference(10, 1)
    for _ in range(100):
        speed.add_inference(10, 5)
    assert speed.inference.factor == pytest.approx(0.5, rel=0.05)
    for _ in range(20):
        speed.add_outputs(2, 16)
    assert speed.output_s == pytest.approx(8, rel=0.01)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000)), max_size=30))
def test_speed_estimate_is_never_negative(measurements: list[tuple[float, float]]) -> None:
    rate = SpeedRate()
    for base_s, value_s in measurements:
        rate.add(base_s, value_s)
    assert rate.factor is None or rate.factor >= 0
