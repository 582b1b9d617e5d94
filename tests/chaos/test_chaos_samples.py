"""The figures of a run: what grows from round to round is reported, what varies or is needed once is not."""

from typing import Any

from tests.chaos.samples import Sample, figures


def sample(**changes: Any) -> Sample:
    """Return a sample after a round."""
    same = {
        "rss_mib": {"run": 200}, "descriptors": {"run": 50}, "tasks": 10, "connections": 20, "slots": 1, "objects": 0,
        "leases": 0, "table_kib": {"smelts": 1000},
    }  # fmt: skip
    return same | changes


def grown(samples: list[Sample]) -> list[str]:
    return [figure.figure for figure in figures(samples) if not figure.is_flat]


def test_figures_are_flat_if_a_round_uses_what_the_others_use() -> None:
    found = figures([sample() for _ in range(10)])
    assert [figure.figure for figure in found] == [
        "rss_mib run", "descriptors run", "tasks", "connections", "slots", "objects", "leases", "table_kib smelts"
    ]  # fmt: skip
    assert all(figure.is_flat and figure.first == figure.last for figure in found)


def test_figures_report_growth_from_round_to_round() -> None:
    assert grown([sample(rss_mib={"run": 200 + 10 * number}) for number in range(10)]) == ["rss_mib run"]
    assert grown([sample(descriptors={"run": 50 + 6 * number}) for number in range(10)]) == ["descriptors run"]
    assert grown([sample(table_kib={"smelts": 1000 + 200 * number}) for number in range(10)]) == ["table_kib smelts"]
    assert grown([sample(slots=1 + number // 5) for number in range(10)]) == ["slots"]


def test_figures_ignore_the_warm_up_and_single_samples() -> None:
    samples = [sample(rss_mib={"run": 100}), *(sample() for _ in range(9))]
    samples[4] = sample(tasks=90)
    samples[-1] = sample(tasks=90, rss_mib={"run": 900})
    assert grown(samples) == []


def test_figures_of_a_worker_that_does_not_run_are_those_of_the_other_samples() -> None:
    samples = [sample(rss_mib={"run": 200, "worker one": 300}) for _ in range(10)]
    samples[-1] = sample()
    assert grown(samples) == []
    assert ("rss_mib worker one", 300) in [(figure.figure, figure.last) for figure in figures(samples)]


def test_figures_need_three_rounds_after_the_warm_up() -> None:
    assert figures([sample() for _ in range(3)]) == []
    assert figures([sample() for _ in range(4)])
