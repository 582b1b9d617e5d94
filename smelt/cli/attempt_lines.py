"""The attempts of a smelt, as `smelt doctor ID` prints them."""

from collections.abc import Iterator
from typing import Final

from smelt.contract.vocabulary import TERMINAL_STATUSES
from smelt.contract.work import AttemptRow, SmeltAttempts

_AT_RISK: Final = {
    "decode": "while decoding",
    "model": "while transcribing",
    "external": "while an external service transcribed",
}


def attempt_lines(known: SmeltAttempts) -> Iterator[str]:
    """Yield a line about the smelt, then one for each attempt."""
    yield f"smelt {known.smelt_id}: {'; '.join(_facts(known))}"
    if not known.attempts:
        yield "no worker has claimed it yet"
    for attempt in known.attempts:
        yield _line(attempt)


def _facts(known: SmeltAttempts) -> Iterator[str]:
    yield known.status if known.error_code is None else f"{known.status} ({known.error_code}: {known.error_message})"
    yield f"run {known.run}"
    if known.failure_count:
        yield f"{known.failure_count} failures in a row without progress"
    if known.suspect is not None:
        yield f"a suspect, claimed alone: its worker stopped {_AT_RISK[known.suspect]}"
    if known.claimable_at is not None and known.status not in TERMINAL_STATUSES:
        yield f"claimable from {known.claimable_at:%Y-%m-%d %H:%M:%S %Z}"


def _line(attempt: AttemptRow) -> str:
    ended = f" to {attempt.ended_at:%H:%M:%S}" if attempt.ended_at is not None else ""
    state: str = attempt.ended_as or "running"
    if attempt.error_code is not None:
        state = f"{state} ({attempt.error_code})"
    facts = [state, *([_AT_RISK[attempt.risk]] if attempt.risk else []), *(["a failure"] if attempt.is_failure else [])]
    reason = f": {attempt.reason}" if attempt.reason else ""
    when = f"{attempt.claimed_at:%Y-%m-%d %H:%M:%S}{ended}"
    return (
        f"attempt {attempt.attempt} (run {attempt.run}), {when}, host {attempt.host}, worker {attempt.worker_id}: "
        f"{', '.join(facts)}{reason}"
    )
