"""The timeline merges the shared cases as it did when they were written; the JavaScript package runs the same cases."""

from smelt.subscriber.timeline import Timeline
from tests.harness.histories import SMELT
from tests.unit.subscriber.merge_cases import merge, read_cases


def test_timeline_merges_the_shared_cases() -> None:
    for number, steps in enumerate(read_cases(), start=1):
        timeline = Timeline(SMELT)
        for step in steps:
            assert merge(timeline, step["news"]) == step, f"line {number}"


def test_shared_cases_cover_every_kind_of_update_and_gap() -> None:
    steps = [step for case in read_cases() for step in case]
    kinds = {update["type"] for step in steps for update in step["updates"]}
    assert kinds == {"progress", "segments", "completed", "failed"}
    assert any(step["needs_read"] for step in steps)
    assert any(step["ending_run"] for step in steps)
    assert any(step["news"].get("payload", {}).get("results_truncated") for step in steps)
