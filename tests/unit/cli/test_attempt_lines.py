"""The attempts of a smelt, as an operator reads them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from smelt.cli.attempt_lines import attempt_lines
from smelt.contract.work import SmeltAttempts

ID = UUID(int=1)
CLAIMED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def attempt(number: int, **changes: Any) -> dict[str, Any]:
    running = {"ended_at": None, "ended_as": None, "risk": None, "is_failure": False, "error_code": None}
    row = {"attempt": number, "run": 1, "worker_id": "w", "host": "a", "claimed_at": CLAIMED_AT, "reason": None}
    return {**row, **running, **changes}


def lines(*attempts: dict[str, Any], **changes: Any) -> list[str]:
    known = {"status": "pending", "error_code": None, "error_message": None, "claimable_at": None, "suspect": None}
    row = {"smelt_id": ID, "run": 1, "failure_count": 0, **known, "attempts": attempts, **changes}
    return list(attempt_lines(SmeltAttempts.model_validate(row)))


def test_attempt_lines_of_an_unclaimed_smelt() -> None:
    assert lines() == [f"smelt {ID}: pending; run 1", "no worker has claimed it yet"]


def test_attempt_lines_name_hosts_risks_failures_and_reasons() -> None:
    ended = {"ended_at": CLAIMED_AT.replace(minute=6)}
    stopped = attempt(1, **ended, ended_as="expired", risk="decode", is_failure=True, reason="the lease expired")
    failed = attempt(3, **ended, ended_as="settled", error_code="internal_error", host="b")
    when = "2026-01-02 03:04:05 to 03:06:05"
    head, first, second, third = lines(
        stopped, failed, attempt(5), status="decoding", failure_count=2, suspect="decode", claimable_at=CLAIMED_AT
    )
    assert head == (
        f"smelt {ID}: decoding; run 1; 2 failures in a row without progress; a suspect, claimed alone: its worker "
        "stopped while decoding; claimable from 2026-01-02 03:04:05 UTC"
    )
    assert first == (
        f"attempt 1 (run 1), {when}, host a, worker w: expired, while decoding, a failure: the lease expired"
    )
    assert second == f"attempt 3 (run 1), {when}, host b, worker w: settled (internal_error)"
    assert third == "attempt 5 (run 1), 2026-01-02 03:04:05, host a, worker w: running"


def test_attempt_lines_of_a_failed_smelt_have_the_sentence_of_its_owner() -> None:
    sentence = "The worker stopped 3 times while decoding this file."
    [head, _] = lines(status="failed", error_code="internal_error", error_message=sentence)
    assert head == f"smelt {ID}: failed (internal_error: {sentence}); run 1"
