"""Calculate what binds first with many workers and smelts, from figures that other benchmarks have measured.

    python scripts/bench/scale.py [FIGURES ...] [--workers 100] [--smelts-per-day 1000000] [--kind "audio of 65 s"]

FIGURES are the lines that `messages.py` and `job_queue.py --only growth` have printed, by default those of the last
report (`figures/messages.jsonl`, `figures/job_queue.jsonl`).

For each plan and resource, prints the need at the peak, the limit, and the smelts a day at which it binds; the line
with `is_first` names the resource that binds first on that plan, and what to change then. Nothing runs: the limits of
the plans are documented ones, and `ASSUMPTIONS` has the values that are neither measured nor documented.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench_common import print_figure

MEASURED: Final = [Path(__file__).parent / "figures" / f"{name}.jsonl" for name in ("messages", "job_queue")]
DAY_S: Final = 86_400
MONTH_D: Final = 30
# The limits of Realtime: https://supabase.com/docs/guides/realtime/limits. The cores of a compute are an assumption.
PLANS: Final = {
    "Free, Nano": {"realtime messages": 100, "realtime connections": 200, "database cores": 1},
    "Pro, Micro": {"realtime messages": 500, "realtime connections": 500, "database cores": 2},
    "Pro without spend cap, Large": {
        "realtime messages": 2500,
        "realtime connections": 10_000,
        "database cores": 2,
    },
    "Team, 2XL": {"realtime messages": 2500, "realtime connections": 10_000, "database cores": 8},
}
# https://supabase.com/docs/guides/platform/manage-your-usage/realtime-messages: a broadcast counts once as sent, and
# once for each client that receives it.
DOLLARS_PER_MILLION_MESSAGES: Final = 2.50
INCLUDED_MILLIONS: Final = 5
# Calls of a worker per second that do not depend on its smelts, from the intervals in smelt/processor.
PERIODIC_CALLS: Final = {
    "claim_smelt_outbox": 1 / 5,
    "heartbeat_smelt_worker": 1 / 5,
    "claim_smelt_webhook_deliveries": 1 / 5,
    "renew_smelt_leases": 1 / 2,
    "claim_smelts": 1 / 30,
    "list_expired_smelts": 1 / 60,
}
CLIENT_CALLS: Final = {"create_smelt": 1, "submit_smelt": 1, "get_smelt": 2}
UNITS: Final = {
    "realtime messages": "per_s",
    "realtime connections": "count",
    "database cores": "cores",
    "REST calls": "per_s",
}
CHANGES: Final = {
    "realtime messages": "let watchers poll instead of joining channels, raise the interval of reports, or ask for a "
    "higher limit; wake-ups reach every worker, so that fewer workers with more concurrency need fewer",
    "realtime connections": "ask for a higher limit, or let a gateway share the channels of its streams",
    "database cores": "choose a larger compute; then divide the users among several projects",
    "REST calls": "run fewer workers with more concurrency, whose renewals are one call each; choose a larger compute",
}


@dataclass(frozen=True)
class Assumptions:
    """Values that are neither measured nor documented."""

    peak: float = 3.0
    """The rate at the busiest time, relative to the mean of a day."""
    receivers: float = 1.0
    """Clients that receive each broadcast of a smelt."""
    watched_s: float = 60.0
    """Seconds that a client stays connected for a smelt."""
    idle_share: float = 0.3
    """The share of the workers that claim after a wake-up, since they have room."""
    utilization: float = 0.7
    """The share of its cores that a database may use for long. A core has the speed of one of the benchmark."""
    rest_ms: float = 1.5
    """Time of PostgREST for a call, on the same cores as the database."""
    unmeasured_ms: float = 2.0
    """Time of a function that no benchmark measures."""
    max_rest_calls: float = 2000.0
    """Calls per second of one PostgREST with its pool of connections."""


ASSUMPTIONS: Final = Assumptions()


@dataclass(frozen=True)
class Figures:
    """Per smelt: the calls of a worker by function, and its broadcasts by event; and the time of each function."""

    calls: dict[str, float]
    broadcasts: dict[str, float]
    call_ms: dict[str, float]


@dataclass(frozen=True)
class Need:
    """The need of a resource per second: of the workers at any time, and for each smelt of that second."""

    of_workers: float
    per_smelt: float

    def at(self, smelts_per_s: float) -> float:
        """Return the need at a rate."""
        return self.of_workers + self.per_smelt * smelts_per_s

    def rate_at(self, limit: float) -> float:
        """Return the smelts per second at which a limit binds; 0 if the workers alone exceed it."""
        return max(0.0, limit - self.of_workers) / self.per_smelt


def read_figures(lines: Iterable[str], kind: str) -> Figures:
    """Return the figures of `messages.py` for this kind of smelt, and of `job_queue.py` for its longest queue."""
    figures: dict[str, dict[str, Any]] = {}
    call_ms: dict[str, float] = {}
    for line in lines:
        values = json.loads(line)
        figures[values.get("figure", "")] = values
        if isinstance(values.get("ms"), dict):
            call = values["figure"].partition(":")[0].partition("(")[0].partition(",")[0]
            *_, call_ms[call] = values["ms"].values()
    for what in ("calls", "broadcasts"):
        if f"{what} for a {kind}" not in figures:
            raise SystemExit(f'the figures lack "{what} for a {kind}": run messages.py')
    if not call_ms:
        raise SystemExit("the figures lack the times of calls: run job_queue.py --only growth")
    calls, broadcasts = (figures[f"{what} for a {kind}"]["by_name"] for what in ("calls", "broadcasts"))
    return Figures(calls, broadcasts, call_ms)


def needs(figures: Figures, workers: int, assumed: Assumptions = ASSUMPTIONS) -> dict[str, Need]:
    """Return the need of each resource. Wake-ups are at most one per second, and reach every worker."""

    def core_s(calls: dict[str, float]) -> float:
        return sum(
            count * (figures.call_ms.get(name, assumed.unmeasured_ms) + assumed.rest_ms) / 1000
            for name, count in calls.items()
        )

    woken = {"claim_smelts": assumed.idle_share}
    of_smelt = dict(figures.calls)
    for name, count in CLIENT_CALLS.items():
        of_smelt[name] = of_smelt.get(name, 0) + count
    wake_ups = {name for name in figures.broadcasts if name.startswith("smelt (")}
    events = sum(count for name, count in figures.broadcasts.items() if name not in wake_ups)
    return {
        "realtime messages": Need(1 + workers, events * (1 + assumed.receivers)),
        "realtime connections": Need(workers, assumed.watched_s),
        "database cores": Need(workers * (core_s(PERIODIC_CALLS) + core_s(woken)), core_s(of_smelt)),
        "REST calls": Need(
            workers * (sum(PERIODIC_CALLS.values()) + sum(woken.values())), sum(of_smelt.values())
        ),
    }  # fmt: skip


def limits_of(plan: str, assumed: Assumptions = ASSUMPTIONS) -> dict[str, float]:
    """Return the limits of a plan that a project can use for long."""
    documented = PLANS[plan]
    usable = {"database cores": documented["database cores"] * assumed.utilization}
    return documented | usable | {"REST calls": assumed.max_rest_calls}


def main() -> None:
    """Print the needs and limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, nargs="*", default=MEASURED)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--smelts-per-day", type=float, default=1_000_000)
    parser.add_argument("--kind", default="audio of 65 s")
    given = parser.parse_args()
    lines = [line for path in given.figures for line in path.read_text(encoding="utf-8").splitlines()]
    needed = needs(read_figures(lines, given.kind), given.workers)
    mean = given.smelts_per_day / DAY_S
    for plan in PLANS:
        print_plan(plan, needed, mean * ASSUMPTIONS.peak)
    messages = needed["realtime messages"].at(mean) * DAY_S * MONTH_D / 1e6
    print_figure(
        "realtime messages of a month", messages, "millions", reference="included", reference_value=INCLUDED_MILLIONS,
        dollars=round(max(0.0, messages - INCLUDED_MILLIONS) * DOLLARS_PER_MILLION_MESSAGES),
    )  # fmt: skip


def print_plan(plan: str, needed: dict[str, Need], peak: float) -> None:
    """Print each resource of a plan; the first one to bind with what to change."""
    limits = limits_of(plan)
    rates = {name: need.rate_at(limits[name]) for name, need in needed.items()}
    first = min(rates, key=lambda name: rates[name])
    for name, need in needed.items():
        is_first = {"is_first": True, "change": CHANGES[name]} if name == first else {}
        print_figure(
            f"{plan}: {name} at the peak", need.at(peak), UNITS[name],
            reference="limit", reference_value=limits[name],
            binds_at_smelts_per_day=round(rates[name] * DAY_S / ASSUMPTIONS.peak), **is_first,
        )  # fmt: skip


if __name__ == "__main__":
    main()
