"""Checks after a run: everything that clients, watchers, webhooks and the database know about its smelts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, LiteralString
from uuid import UUID

from smelt.contract.state import FileSegment, Snapshot
from tests.chaos.clients import History
from tests.chaos.deadlines import scaled
from tests.chaos.hooks import Hooks
from tests.chaos.site import Site
from tests.chaos.watchers import Observation

MAX_OUTBOX_AGE_S: Final = 60.0
MAX_NOTICE_S: Final = 35.0

# Each must return no row once all smelts have ended.
LEFT: Final[dict[str, LiteralString]] = {
    "smelts without an end": "select id, status from public.smelts where completed_at is null",
    "leases": "select smelt_id, worker_id from smelt.leases",
    "suspects": "select smelt_id, risk from smelt.suspects",
    "rows of the outbox": "select topic, event, created_at from smelt.outbox",
    "attempts without an end": "select smelt_id, attempt from smelt.attempts where ended_as is null",
    "objects of completed smelts": """
        select o.name from storage.objects as o left join public.smelts as s on s.id::text = split_part(o.name, '/', 1)
        where s.id is null or (s.status = 'completed' and s.outcome = 'complete')
    """,
    "overdue deliveries": """
        select id, attempt, next_at from smelt.webhook_deliveries where next_at < clock_timestamp() - interval '60 s'
    """,
    "smelts without one result in a completed run": """
        select s.id, count(r.file_id) from public.smelts as s
        left join public.smelt_results as r on r.smelt_id = s.id and r.run = s.run
        group by s.id having count(r.file_id) <> (s.status = 'completed')::integer
    """,
    "runs that were settled twice": """
        select smelt_id, run, count(*) from smelt.attempts where ended_as = 'settled' group by smelt_id, run
        having count(*) > 1
    """,
    "ends of users' smelts without one notification": """
        select s.id, r.run, count(n.id) from public.smelts as s cross join generate_series(1, s.run) as r (run)
        left join public.smelt_notifications as n on n.smelt_id = s.id and (n.data ->> 'run')::integer = r.run
        where s.user_id is not null group by s.id, r.run having count(n.id) <> 1
    """,
    "batches with wrong counts": """
        select b.id, b.total, b.completed, b.failed, b.progress from public.smelt_batches as b
        left join public.smelts as s on s.batch_id = b.id group by b.id
        having b.total <> count(s.id) or b.completed <> count(s.id) filter (where s.status = 'completed')
            or b.failed <> count(s.id) filter (where s.status = 'failed')
    """,
}
EXPIRED: Final = """
select smelt_id, attempt, extract(epoch from ended_at)::float from smelt.attempts where ended_as = 'expired'
"""
# A model that goes on after an external service does not begin at the start of a window of its own.
CONTINUED: Final = """
select distinct smelt_id from smelt.attempts where risk = 'external' and ended_as in ('expired', 'retrying')
"""


@dataclass(frozen=True)
class Undisturbed:
    """The transcript and the result of a source in an undisturbed run."""

    segments: tuple[tuple[int, float, float, str], ...]
    result: str


def undisturbed(state: Snapshot) -> Undisturbed:
    """Return the transcript and the result of a completed smelt."""
    assert state.status == "completed", state
    return Undisturbed(_values(state.segments), _result(state))


@dataclass(frozen=True)
class Evidence:
    """Everything that is known about the smelts of a run; `slowdown` scales the limits of time."""

    histories: Sequence[History]
    states: Mapping[UUID, Snapshot]
    observed: Mapping[int, Observation]
    references: Mapping[str, Undisturbed]
    hooks: Hooks
    deaths: Mapping[tuple[UUID, int], float]
    outbox_age_s: float
    slowdown: float
    # The ends that the accepting webhook has still to deliver.
    pending_ends: frozenset[tuple[UUID, int]] = frozenset()


async def left_behind(site: Site) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that should not exist once all smelts have ended."""
    found = {name: await site.database.rows(query) for name, query in LEFT.items()}
    return {name: rows for name, rows in found.items() if rows}


async def check(site: Site, evidence: Evidence) -> None:
    """Assert that each smelt has ended once, that all have seen the same of it, and that nothing else is left."""
    continued = {smelt_id for (smelt_id,) in await site.database.rows(CONTINUED)}
    for history in evidence.histories:
        state = evidence.states[history.smelt_id]
        reference = evidence.references[history.planned.source]
        check_end(history, state)
        check_transcript(history, state, None if state.id in continued else reference)
        check_watcher(evidence.observed[history.planned.number], state)
    check_webhooks(evidence)
    assert evidence.outbox_age_s <= scaled(MAX_OUTBOX_AGE_S, evidence.slowdown), (
        evidence.outbox_age_s,
        evidence.slowdown,
    )
    noticed = await notice_times_s(site, evidence.deaths)
    assert max(noticed, default=0) <= scaled(MAX_NOTICE_S, evidence.slowdown), (noticed, evidence.slowdown)


def check_end(history: History, state: Snapshot) -> None:
    """Assert that a smelt has completed, unless a client cancelled its last run."""
    assert state.run == history.last_run, (history, state.run)
    if state.status == "failed":
        assert state.error_code == "cancelled", (history, state.error_code)
        assert state.run in history.cancelled_runs, history
    else:
        assert (state.status, state.outcome) == ("completed", "complete"), (history, state.status)


def check_transcript(history: History, state: Snapshot, reference: Undisturbed | None) -> None:
    """Assert that segments have no hole, and are those of an undisturbed run if that is known."""
    segments = _values(state.segments)
    assert [index for index, *_ in segments] == list(range(len(segments))), (history, segments)
    assert all(earlier[1] <= later[1] for earlier, later in pairwise(segments)), (history, segments)
    if reference is None:
        return
    if state.status == "completed":
        assert segments == reference.segments, (history, segments)
        assert _result(state) == reference.result, (history, _result(state))
    else:
        assert segments == reference.segments[: len(segments)], (history, segments)


def check_watcher(observed: Observation, state: Snapshot) -> None:
    """Assert that a watcher got one end, states that never go back, and each segment once."""
    assert len(observed.ends) == 1, observed
    assert observed.late == 0, observed
    for before, after in pairwise(observed.states):
        # By run, then by seq; the percentage within a run.
        assert before[:2] <= after[:2], (before, after, observed)
        assert before[0] < after[0] or before[2] <= after[2], (before, after, observed)
    for run in {run for run, *_ in observed.segments}:
        indexes = [index for of, index, _ in observed.segments if of == run]
        assert indexes == list(range(len(indexes))), observed
    [(run, status)] = observed.ends
    if run == state.run:
        assert status == state.status, observed
        texts = [text for of, _, text in observed.segments if of == run]
        assert texts == [segment.text for segment in state.segments], (observed, state.segments)


def check_webhooks(evidence: Evidence) -> None:
    """Assert that the end of each run was delivered once, or is still to be, by the schedule of its webhook."""
    ended = Counter(
        {
            (history.smelt_id, run): 1
            for history in evidence.histories
            for run in range(1, evidence.states[history.smelt_id].run + 1)
        }
    )
    known = set(evidence.states)
    accepted = Counter({key: count for key, count in evidence.hooks.accepting.ends().items() if key[0] in known})
    assert not accepted - ended, accepted - ended
    assert (ended - accepted).keys() <= evidence.pending_ends, ended - accepted
    assert max(evidence.hooks.failing.ends().values(), default=1) == 1


async def notice_times_s(site: Site, deaths: Mapping[tuple[UUID, int], float]) -> list[float]:
    """Return after how many seconds each attempt was ended that a killed worker held."""
    ended = {(smelt_id, attempt): at_s for smelt_id, attempt, at_s in await site.database.rows(EXPIRED)}
    return sorted(ended[held] - killed_s for held, killed_s in deaths.items() if held in ended)


def _values(segments: Sequence[FileSegment]) -> tuple[tuple[int, float, float, str], ...]:
    return tuple((one.index, round(one.start, 2), round(one.end, 2), one.text) for one in segments)


def _result(state: Snapshot) -> str:
    """Return the only result of a smelt."""
    assert state.results is not None
    [result] = state.results
    return result.content
