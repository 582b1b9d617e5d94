"""The report of the benchmarks judges each figure by its goal."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import report

GOALS = [
    {"figure": "^ratio$", "ratio": 1.05},
    {"figure": "^value$", "value": 0.15},
    {"figure": "^add", "difference": 0.3},
]


def line(figure: str, value: float, reference_value: float | None = 1.0, **more: Any) -> dict[str, Any]:
    ratio = {"ratio": value / reference_value} if reference_value else {}
    base = {"figure": figure, "value": value, "unit": "s", "reference": "bare", "reference_value": reference_value}
    return {**base, **ratio, **more}


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (line("ratio", 2.1, 2.0), True),
        (line("ratio", 2.2, 2.0), False),
        (line("ratio", 0, 0), True),
        (line("ratio", 1, 0), False),
        (line("value", 0.15), True),
        (line("value", 0.16), False),
        (line("added", 0.75, 0.5), True),
        (line("added", 0.9, 0.5), False),
        (line("other", 9), None),
        (line("ratio", 9, None), None),
        (line("other", 2, 2.5, reference="promised"), True),
        (line("other", 3, 2.5, reference="promised"), False),
        (line("other", 3, goal=2.5), False),
        (line("other", 3, goal=2.5, met=True), True),
    ],
)
def test_figure_is_judged_by_its_goal(figure: dict[str, Any], met: bool | None) -> None:
    assert report._judged(figure, GOALS)[1] is met


def test_goals_are_valid() -> None:
    for goal in tomllib.loads((report.HERE / "goals.toml").read_text())["goal"]:
        re.compile(goal.pop("figure"))
        assert goal.keys() <= {"ratio", "value", "difference"}
        assert len(goal) == 1


def test_each_listed_benchmark_exists() -> None:
    assert [one.name for one in report.BENCHMARKS if not (report.HERE / f"{one.name}.py").exists()] == []


def test_report_runs_each_program_of_the_table() -> None:
    table = re.findall(r"^\| `(\w+)\.py` \|", report.README.read_text(), re.MULTILINE)
    assert sorted(table) == sorted(one.name for one in report.BENCHMARKS)


def test_benchmark_without_its_requirements_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    assert report.Benchmark("start").missing() is None
    assert report.Benchmark("start", variables=("NO_SUCH_VARIABLE",)).missing() == "NO_SUCH_VARIABLE is not set"
    assert report.Benchmark("start", programs=("no-such-program",)).missing() == "no-such-program is not installed"
    assert report.Benchmark("start", paths=("no/such/path",)).missing() == "no/such/path does not exist"


def test_report_replaces_the_figures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    lines = [
        {"run": "2026-01-02", "load": 0.1, "quick": True, "machine": "2 cores"},
        line("value", 0.16, 0.2, spread=[0.1, 0.2]),
    ]
    (tmp_path / "start.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report._write_readme({"start": list(report._figures("start"))})
    text = readme.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "Measured on 2026-01-02 at load 0.1, a quick run; 2 cores." in text
    assert "| value | 0.16 s (0.1 to 0.2) | bare: 0.2 | 0.8 |  |  |" in text
    assert "old" not in text
