"""Run the benchmarks that this machine can run, and write their figures into `README.md` with pictures beside it.

    scripts/bench/report [NAME...] [--quick] [--write-only]

Each program's lines are kept in `figures/NAME.jsonl`, so that a later call may measure others and still write all.
`--quick` takes fewer rounds. `--write-only` measures nothing. A program whose requirements are missing is skipped with
the reason, and one that fails is named; the exit code is then 1.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.harness.processes import run

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
RESULTS: Final = HERE / "figures"
README: Final = HERE / "README.md"
PICTURES: Final = HERE / "pictures"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PROMISES: Final = {"promised", "bar", "the documented limit"}
TIMEOUT_S: Final = 3600.0
GREEN, RED, GRAY = "#2e7d32", "#c62828", "#607d8b"


@dataclass(frozen=True)
class Benchmark:
    """A program, its arguments, those of a quick run instead, and what it needs."""

    name: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] | None = None
    variables: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return what this machine lacks; None if the program can run."""
        if variable := next((name for name in self.variables if not os.environ.get(name)), None):
            return f"{variable} is not set"
        if program := next((name for name in self.programs if not shutil.which(name)), None):
            return f"{program} is not installed"
        if path := next((path for path in self.paths if not (ROOT / path).exists()), None):
            return f"{path} does not exist"
        return None

    def command(self, quick: bool) -> list[str]:
        """Return the command; arguments may name environment variables."""
        arguments = self.quick if quick and self.quick is not None else self.arguments
        return [sys.executable, str(HERE / f"{self.name}.py"), *map(os.path.expandvars, arguments)]


@dataclass(frozen=True)
class Figure:
    """A line of a program; without a goal, `goal` is empty and `met` None."""

    program: str
    line: dict[str, Any]
    goal: str
    met: bool | None

    def cells(self) -> list[str]:
        """Return the row of the table."""
        reference = f"{self.line['reference']}{_number(self.line.get('reference_value'), ': ')}"
        value = f"{_number(self.line['value'])} {self.line['unit']}{_spread(self.line.get('spread'))}"
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return [str(self.line["figure"]), value, reference, _number(self.line.get("ratio")), self.goal, met]


REAL: Final = ("SMELT_REAL_SPEECH", "SMELT_REAL_MODEL")
TEN_MINUTES: Final = "$SMELT_REAL_SPEECH/ten.flac"
MODEL: Final = ("--model", "$SMELT_REAL_MODEL")
BENCHMARKS: Final = (
    Benchmark("local_start", quick=("--rounds", "1")),
    Benchmark("start", quick=("--rounds", "3")),
    Benchmark("speed", (TEN_MINUTES, *MODEL), (TEN_MINUTES, *MODEL, "--seconds", "60", "--pairs", "1"), variables=REAL),
    Benchmark(
        "overhead",
        ("--file", TEN_MINUTES, *MODEL),
        ("--file", TEN_MINUTES, *MODEL, "--rounds", "3", "--text-rounds", "1"),
        variables=REAL,
    ),
    Benchmark("isolation", quick=("--pairs", "1", "--seconds", "60")),
    Benchmark("words", quick=("--only", "jfk"), variables=REAL),
    Benchmark(
        "speakers",
        # One with two speakers and one with seven; `long.opus` has a speaker for each of its 251 utterances.
        ("$SMELT_REAL_SPEECH", "$SMELT_REAL_SPEAKER_MODEL", "--only", "call.flac", "ten.flac"),
        ("$SMELT_REAL_SPEECH", "$SMELT_REAL_SPEAKER_MODEL", "--only", "call.flac"),
        variables=("SMELT_REAL_SPEECH", "SMELT_REAL_SPEAKER_MODEL"),
    ),
    Benchmark("messages", quick=("--texts", "10", "--clips", "3", "--counted", "1")),
    Benchmark("job_queue", quick=("--only", "growth", "--sizes", "100,1000")),
    Benchmark(
        "watching", quick=("--rounds", "30", "--idle-s", "30"), programs=("node",), paths=("tests/js/node_modules",)
    ),
    Benchmark("watch_memory", quick=("--watches", "200", "--polled-s", "10")),
    Benchmark("streams", quick=("--streams", "50", "--reports", "5", "--settle-s", "3")),
    Benchmark("realtime_latency", quick=("--subscribers", "1", "50")),
    Benchmark("realtime_churn", quick=("--seconds", "20")),
    Benchmark("recovery", quick=("reset", "server restart", "close 1006", "expired token", "--rounds", "1")),
    Benchmark("cancel", quick=("--rounds", "3")),
    Benchmark(
        "resume",
        quick=("worker killed", "model crashed", "decoder killed", "--rounds", "1", "--lease-s", "5"),
    ),
    Benchmark(
        "renewals",
        ("--recording", TEN_MINUTES, *MODEL, "--compute-type", "int8", "--interval", "0.5"),
        quick=("--interval", "0.5"),
        variables=REAL,
    ),
    Benchmark("eta", quick=("--minutes", "2")),
    Benchmark("memory", quick=("--hours", "0.1", "--count", "20")),
    Benchmark("gateway_uploads", quick=("--count", "8", "--mib", "20")),
    Benchmark("upload", quick=("--mib", "50"), programs=("chromium",)),
    Benchmark("scale"),
)


def main(options: argparse.Namespace) -> int:
    """Run the chosen programs, write the report, and return the exit code."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    failed = []
    for benchmark in () if options.write_only else _chosen(options.names):
        if reason := benchmark.missing():
            print(f"{benchmark.name}: skipped, {reason}", file=sys.stderr)
        elif not _run(benchmark, options.quick):
            failed.append(benchmark.name)
    figures = {benchmark.name: list(_figures(benchmark.name)) for benchmark in BENCHMARKS}
    for name, found in figures.items():
        _draw(name, [figure for figure in found if figure.line.get("ratio")])
    _write_readme(figures)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _chosen(names: Sequence[str]) -> list[Benchmark]:
    if unknown := set(names) - {benchmark.name for benchmark in BENCHMARKS}:
        raise SystemExit(f"no such benchmark: {', '.join(sorted(unknown))}")
    return [benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names]


def _run(benchmark: Benchmark, quick: bool) -> bool:
    began_s, load = time.monotonic(), os.getloadavg()[0]
    try:
        done = run(benchmark.command(quick), timeout_s=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"{benchmark.name}: killed after {TIMEOUT_S:.0f} s", file=sys.stderr)
        return False
    print(f"{benchmark.name}: exit code {done.returncode}, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"figure"')]
    if lines:
        today = datetime.now(UTC).date().isoformat()
        first = json.dumps({"run": today, "load": round(load, 1), "quick": quick, "machine": machine()})
        (RESULTS / f"{benchmark.name}.jsonl").write_text("\n".join([first, *lines]) + "\n")
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return done.returncode == 0


def _lines(name: str) -> list[dict[str, Any]]:
    """Return the lines of the last run: the first one describes the run."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _figures(name: str) -> Iterator[Figure]:
    goals = tomllib.loads((HERE / "goals.toml").read_text())["goal"]
    for line in _lines(name)[1:]:
        yield Figure(name, line, *_judged(line, goals))


def _judged(line: dict[str, Any], goals: list[dict[str, Any]]) -> tuple[str, bool | None]:
    """Return the goal of a figure and whether it is met."""
    value, reference = line["value"], line.get("reference_value")
    if line["reference"] in PROMISES:
        return f"at most {_number(reference)}", line.get("met", value <= reference)
    if "goal" in line:
        return f"at most {_number(line['goal'])}", line.get("met", value <= line["goal"])
    goal = next((goal for goal in goals if re.search(goal["figure"], line["figure"])), None)
    if goal is None:
        return "", line.get("met")
    if "value" in goal:
        return f"at most {_number(goal['value'])}", value <= goal["value"]
    if reference is None:
        return "", None
    if "difference" in goal:
        return f"at most {_number(goal['difference'])} more", value - reference <= goal["difference"]
    return f"ratio at most {_number(goal['ratio'])}", value <= goal["ratio"] * reference


def _write_readme(figures: dict[str, list[Figure]]) -> None:
    """Replace the figures between the two marks."""
    parts = []
    for name, found in figures.items():
        if found:
            first = _lines(name)[0]
            quick = ", a quick run" if first["quick"] else ""
            measured = f"Measured on {first['run']} at load {first['load']}{quick}; {first['machine']}."
            parts += [f"### `{name}.py`", measured, _table(found)]
            if (PICTURES / f"{name}.svg").exists():
                parts.append(f"![Ratios to the reference](pictures/{name}.svg)")
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{rest.partition(END)[2]}")


def _table(found: Sequence[Figure]) -> str:
    rows = [["figure", "value", "reference", "ratio", "goal", "met"], ["---"] * 6, *(each.cells() for each in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine() -> str:
    """Return the processors and the versions of this machine."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor()
    )
    return f"{os.cpu_count()} cores ({model}), {platform.system()}, Python {platform.python_version()}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _draw(name: str, found: Sequence[Figure]) -> None:
    """Draw the ratios of one program, each in the color of its goal."""
    if not found:
        return
    from matplotlib import pyplot  # Of the extra `bench`, which the other programs do not need.

    pyplot.rcParams["svg.hashsalt"] = name  # The same figures give the same file.
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.3 * len(found)), layout="constrained")
    colors = {True: GREEN, False: RED, None: GRAY}
    ratios = [each.line["ratio"] for each in found]
    axes.barh([each.line["figure"] for each in found], ratios, color=[colors[each.met] for each in found])
    axes.bar_label(axes.containers[0], fmt="%.2f", padding=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("ratio to the reference (green: goal met, red: not met, gray: no goal)")
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def _number(value: float | None, before: str = "") -> str:
    return "" if value is None else f"{before}{value:,.4g}" if abs(value) < 10_000 else f"{before}{value:,.0f}"


def _spread(spread: Sequence[float] | None) -> str:
    return f" ({_number(min(spread))} to {_number(max(spread))})" if spread else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write-only", action="store_true")
    sys.exit(main(parser.parse_args()))
