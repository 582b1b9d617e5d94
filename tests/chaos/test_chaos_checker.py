"""The checker of a chaos run rejects each kind of loss, repetition and disorder."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from smelt.contract.state import Snapshot
from tests.chaos.checker import Undisturbed, check_end, check_transcript, check_watcher, undisturbed
from tests.chaos.clients import History
from tests.chaos.plan import PlannedSmelt
from tests.chaos.watchers import Observation

SMELT, FILE = UUID(int=1), UUID(int=2)
NOW = "2026-11-30T12:00:00Z"
TEXTS = ("one", "two", "three")
PLANNED = PlannedSmelt(0, 0, "greeting.ogg", True, False, False, 1, (), ())


def snapshot(**changes: Any) -> Snapshot:
    """Return the state of a completed smelt."""
    segments = [
        {"file_id": FILE, "index": index, "start": index, "end": index + 1, "text": text}
        for index, text in enumerate(TEXTS)
    ]
    state = {
        "id": SMELT, "seq": 9, "run": 1, "attempt": 1, "status": "completed", "mode": "separate",
        "progress": {"percentage": 100, "stage": "completed", "message": "Complete"}, "eta_seconds": None,
        "queue_position": None, "worker_online": True, "files": [], "segments": segments, "segments_seq": 8,
        "outcome": "complete", "results": [{"file_id": FILE, "filename": "greeting.ogg", "content": "notes"}],
        "error_code": None, "error_message": None, "default_prompt_names": [], "user_prompt_id": None,
        "batch_id": None, "created_at": NOW, "submitted_at": NOW, "started_at": NOW, "completed_at": NOW,
        "subscription_channel": f"smelt:{SMELT}", "next_poll_s": None,
    }  # fmt: skip
    return Snapshot.model_validate(state | changes)


def observation(**changes: Any) -> Observation:
    """Return what a watcher received of the same smelt."""
    complete = Observation(
        "python",
        SMELT,
        states=[(1, 1, 0.0), (1, 4, 20.0), (1, 8, 70.0)],
        segments=[(1, index, text) for index, text in enumerate(TEXTS)],
        ends=[(1, "completed")],
    )
    return replace(complete, **changes)


def history(**changes: Any) -> History:
    return replace(History(SMELT, PLANNED), **changes)


REFERENCE: Undisturbed = undisturbed(snapshot())
FAILED = {"status": "failed", "outcome": None, "results": None}


def test_checker_accepts_what_is_complete() -> None:
    check_watcher(observation(), snapshot())
    check_end(history(), snapshot())
    check_transcript(history(), snapshot(), REFERENCE)
    check_end(history(cancelled_runs={1}), snapshot(**FAILED, error_code="cancelled"))
    # A watcher may end with a run that a client has retried since.
    check_watcher(observation(ends=[(1, "failed")], segments=[]), snapshot(run=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"ends": []},
        {"ends": [(1, "completed"), (1, "completed")]},
        {"ends": [(1, "failed")]},
        {"late": 1},
        {"states": [(1, 4, 20.0), (1, 1, 20.0)]},
        {"states": [(1, 4, 20.0), (1, 5, 19.0)]},
        {"states": [(2, 4, 0.0), (1, 5, 20.0)]},
        {"segments": [(1, 0, "one"), (1, 2, "three")]},
        {"segments": [(1, 0, "one"), (1, 0, "one"), (1, 1, "two"), (1, 2, "three")]},
        {"segments": [(1, 0, "one"), (1, 1, "two")]},
        {"segments": [(1, 0, "one"), (1, 1, "too"), (1, 2, "three")]},
    ],
)
def test_checker_rejects_a_watcher_that_lost_or_repeated_something(changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_watcher(observation(**changes), snapshot())


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, {**FAILED, "error_code": "internal_error"}),
        ({}, {**FAILED, "error_code": "cancelled"}),
        ({"cancelled_runs": {1}, "last_run": 2}, {**FAILED, "error_code": "cancelled", "run": 2}),
        ({}, {"outcome": "partial"}),
        ({}, {"run": 2}),
    ],
)
def test_checker_rejects_an_end_that_no_client_caused(changes: dict[str, Any], state: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_end(history(**changes), snapshot(**state))


def test_checker_rejects_a_transcript_with_a_hole_or_another_text() -> None:
    whole = snapshot()
    other = whole.segments[2].model_copy(update={"text": "3"})
    for segments in (whole.segments[1:], whole.segments[:2], (*whole.segments[:2], other)):
        with pytest.raises(AssertionError):
            check_transcript(history(), whole.model_copy(update={"segments": segments}), REFERENCE)
    with pytest.raises(AssertionError):
        check_transcript(history(), whole, replace(REFERENCE, result="other notes"))
