"""The result of a check."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal

from smelt.errors import SmeltError, Unavailable

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckResult:
    """One line of `smelt doctor`.

    `remedy` is None if nothing has to be done. `unreachable` distinguishes a project that does not respond from one
    that responds with an error.
    """

    check: str
    level: Level
    observed: str
    remedy: str | None = None
    unreachable: bool = False


async def run_check(check: str, checking: Awaitable[CheckResult], remedy: str) -> CheckResult:
    """Return the result of a check; an error that it raises becomes a failed result."""
    try:
        return await checking
    except Unavailable as exc:
        return CheckResult(check, "fail", str(exc), f"try again; if it fails again: {remedy}", unreachable=True)
    except SmeltError as exc:
        return CheckResult(check, "fail", str(exc), remedy)
