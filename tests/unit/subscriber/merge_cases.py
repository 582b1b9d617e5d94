"""The cases of `tests/contract/merge.jsonl`, which Python's timeline and the merge of the JavaScript package must pass.

Run this file to write new cases, found by hypothesis and merged by the timeline. A case is a line: the steps of one
smelt, each with its `news`, the resulting `updates`, the argument `known` of the next read, `needs_read`, and
`ending_run`.
"""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from smelt.contract.events import CompletedEvent, FailedEvent, ProgressEvent, SegmentsEvent, SmeltEvent, parse_event
from smelt.contract.state import Snapshot, Unchanged
from smelt.contract.vocabulary import MISSING_MODEL, STAGE_MESSAGES, STAGES
from smelt.subscriber.timeline import Timeline
from smelt.subscriber.updates import Progress, Segments, Update
from tests.harness.histories import SMELT, History, make_history, progress_event, snapshot

PATH = Path(__file__).parents[2] / "contract" / "merge.jsonl"
MAX_STEPS = 12

Json = dict[str, Any]
Action = tuple[str, int, bool, bool]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["event", "event", "event", "lower event", "read", "stale read", "unchanged", "conclude"]),
        st.integers(0, 60),
        st.booleans(),
        st.booleans(),
    ),
    min_size=2,
    max_size=MAX_STEPS,
)


def merge(timeline: Timeline, news: Json) -> Json:
    """Merge news into the timeline; return the step of a case."""
    match news:
        case {"type": "conclude"}:
            updates = timeline.conclude()
        case {"type": "event", "event": name, "payload": payload}:
            event = parse_event(name, payload)
            assert event is not None
            updates = timeline.merge_event(event)
        case {"state": {"status": _} as state, "segments_after": segments_after}:
            updates = timeline.merge_snapshot(Snapshot.model_validate(state), segments_after or 0)
        case {"state": state}:
            updates = timeline.merge_unchanged(Unchanged.model_validate(state))
        case _:
            raise ValueError(news)
    known = timeline.known
    return {
        "news": news,
        "updates": [wire_update(update) for update in updates],
        "known": {"id": str(known.id), "after_seq": known.after_seq, "segments_after": known.segments_after},
        "needs_read": timeline.needs_read,
        "ending_run": timeline.ending_run,
    }


def wire_update(update: Update) -> Json:
    """Return an update in the shape of the JavaScript package, which is that of the events."""
    fields = update.model_dump(mode="json", exclude_none=not isinstance(update, Progress))
    match update:
        case Progress():
            stage = {"percentage": update.percentage, "stage": update.status, "message": update.message}
            rest = {name: value for name, value in fields.items() if name not in ("percentage", "message")}
            return {"type": "progress", **rest, "progress": stage}
        case Segments():
            for segment in fields["segments"]:
                segment.pop("file_id", None)
            return {"type": "segments", **fields}
        case _:
            return {"type": update.status, **fields}


def play(history: History, actions: list[Action]) -> list[Json]:
    """Return the steps of a case, in which each read returns what the database would."""
    timeline = Timeline(SMELT)
    steps = []
    for action in actions:
        news = _news(timeline, history, action)
        if news is not None:
            steps.append(merge(timeline, news))
    return steps


def _news(timeline: Timeline, history: History, action: Action) -> Json | None:
    kind, which, is_online, is_queued = action
    row = history.rows[which % len(history.rows)]
    known = timeline.known
    match kind:
        case "conclude":
            return {"type": "conclude"}
        case "event":
            event = history.events[which % len(history.events)]
            if isinstance(event, CompletedEvent) and is_queued:  # Sent twice, differently.
                event = event.model_copy(update={"results_truncated": is_online})
            return _event_news(event, which)
        case "lower event":  # Another sender may violate the rules of the database.
            lower = progress_event(
                replace(row, seq=row.seq + which % 5, status=STAGES[which % 5], percentage=which % 9)
            )
            return _event_news(lower.model_copy(update={"attempt": row.run + is_queued}), which)
        case "unchanged":
            seq = known.after_seq or which % 9
            state = Unchanged(
                id=SMELT,
                seq=seq,
                next_poll_s=5,
                queue_position=1 if is_queued else None,
                worker_online=is_online,
                message=(STAGE_MESSAGES["pending"] if is_online else f"{MISSING_MODEL}small.") if is_queued else None,
            )
            return {"type": "read", "state": state.model_dump(mode="json"), "segments_after": known.segments_after}
    # The response of a stale read was requested before later changes.
    after = max(0, (known.segments_after or 0) - which % 3) if kind == "stale read" else known.segments_after or 0
    if kind == "read" and known.after_seq is not None and known.after_seq >= row.seq:
        return None
    position = which % 4 if is_queued and row.status == "pending" else None
    state_read = snapshot(row, after, position, worker_online=is_online)
    return {"type": "read", "state": state_read.model_dump(mode="json", exclude_defaults=True), "segments_after": after}


def _event_news(event: SmeltEvent, which: int) -> Json:
    match event:
        case ProgressEvent():
            name = "progress"
        case SegmentsEvent():
            name = "segments"
        case CompletedEvent():
            name = "completed"
        case FailedEvent():
            name = "failed"
    payload = event.model_copy(update={"event_id": UUID(int=which)})
    return {"type": "event", "event": name, "payload": payload.model_dump(mode="json", exclude_defaults=True)}


def _features(steps: list[Json]) -> set[object]:
    """Return the results that a case covers, alone and in pairs of consecutive ones."""
    news = [_kind(step["news"]) for step in steps]
    emitted = [tuple(update["type"] for update in step["updates"]) for step in steps]
    states = [(step["needs_read"], step["ending_run"] is not None) for step in steps]
    details = [
        (
            kind,
            update["attempt"] > update["run"],
            update["queue_position"] is None,
            update["worker_online"],
            len(update["outputs"]),
            *_raised(step["news"], update),
        )
        for step, kind in zip(steps, news, strict=True)
        for update in step["updates"]
        if update["type"] == "progress"
    ]
    return {*zip(news, emitted, states, strict=True), *pairwise(news), *details}


def _kind(news: Json) -> tuple[object, ...]:
    payload = news.get("payload", {})
    return news["type"], news.get("event"), "status" in news.get("state", {}), payload.get("results_truncated")


def _raised(news: Json, update: Json) -> tuple[bool, bool]:
    """Return whether the status and the percentage of the news were raised to those that were known."""
    given = news.get("payload") or news["state"]
    if "progress" not in given:
        return False, False
    return given["status"] != update["status"], given["progress"]["percentage"] != update["progress"]["percentage"]


def find_cases() -> list[list[Json]]:
    """Return cases that each cover a new pair of results, short ones first."""
    found: list[list[Json]] = []

    @settings(
        max_examples=4000,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False).map(make_history), ACTIONS)
    def collect(history: History, actions: list[Action]) -> None:
        found.append(play(history, actions))

    collect()
    covered: set[object] = set()
    kept = []
    for steps in sorted(found, key=len):
        if new := _features(steps) - covered:
            covered |= new
            kept.append(steps)
    return kept


def read_cases() -> list[list[Json]]:
    """Return the cases of the file."""
    return [json.loads(line) for line in PATH.read_text().splitlines()]


if __name__ == "__main__":
    cases = find_cases()
    PATH.write_text("".join(json.dumps(steps, separators=(",", ":")) + "\n" for steps in cases))
    print(f"{len(cases)} cases, {sum(map(len, cases))} steps in {PATH}")
