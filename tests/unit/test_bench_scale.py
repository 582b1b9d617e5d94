"""The calculation of scale names the resource that binds first."""

import json
from dataclasses import replace

import pytest
import scale

FIGURES = [
    {"figure": "calls for a text", "value": 3, "by_name": {"claim_smelts": 1.0, "complete_smelt": 2.0}},
    {"figure": "broadcasts for a text", "value": 3, "by_name": {"completed": 2.0, "smelt (database)": 1.0}},
    {"figure": "claim_smelts(1): 1000 waiting over 100", "value": 2, "ms": {"100": 5.0, "1000": 10.0}},
    {"figure": "get_smelt, waiting and unchanged: 1000 waiting over 100", "value": 1, "ms": {"100": 1.0, "1000": 1.0}},
]
ASSUMED = replace(scale.ASSUMPTIONS, receivers=1.0, idle_share=0.0, rest_ms=1.0, unmeasured_ms=2.0, watched_s=10.0)


def figures() -> scale.Figures:
    return scale.read_figures(map(json.dumps, FIGURES), "text")


def test_needs_follow_from_the_figures() -> None:
    needs = scale.needs(figures(), 10, ASSUMED)
    # Each of two events is sent and received once; a wake-up is sent and reaches ten workers.
    assert needs["realtime messages"] == scale.Need(11, 4)
    assert needs["realtime connections"] == scale.Need(10, 10)
    assert needs["REST calls"].per_smelt == 7
    # A claim of the longest queue, two reads, and four functions without a figure; each through PostgREST.
    assert needs["database cores"].per_smelt == pytest.approx((10 + 2 * 1 + 4 * 2 + 7) / 1000)


def test_rate_at_a_limit_leaves_out_what_the_workers_need() -> None:
    assert scale.Need(10, 2).rate_at(50) == 20
    assert scale.Need(10, 2).rate_at(5) == 0


@pytest.mark.parametrize(("workers", "first"), [(10, "realtime connections"), (99, "realtime messages")])
def test_first_resource_to_bind_is_named(workers: int, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    scale.print_plan("Free, Nano", scale.needs(figures(), workers), 1.0)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4
    [named] = [line for line in lines if line.get("is_first")]
    assert named["figure"] == f"Free, Nano: {first} at the peak"
    assert named["change"]


@pytest.mark.parametrize("kept", [FIGURES[:1], FIGURES[:2], FIGURES[2:]])
def test_missing_figures_are_named(kept: list[dict[str, object]]) -> None:
    with pytest.raises(SystemExit, match="the figures lack"):
        scale.read_figures(map(json.dumps, kept), "text")


def test_figures_of_the_last_report_suffice() -> None:
    lines = [line for path in scale.MEASURED for line in path.read_text().splitlines()]
    measured = scale.read_figures(lines, "audio of 65 s")
    assert measured.call_ms.keys() >= {"claim_smelts", "report_smelt_progress", "complete_smelt", "create_smelt"}
    assert all(need.per_smelt > 0 for need in scale.needs(measured, workers=100).values())
