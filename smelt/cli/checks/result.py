"""What a check has found, and what to do about it."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal

from smelt.errors import SmeltError, Unavailable

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckResult:
    """One line of the doctor's: `advice` says what to do, and is missing where nothing is to be done.

    `unreachable` tells a project that does not answer from one that answers wrongly.
    """

    check: str
    level: Level
    observed: str
    remedy: str | None = None
    unreachable: bool = False


async def run_check(check: str, checking: Awaitable[CheckResult], remedy: str) -> CheckResult:
    """What a check finds; an error that it meets is a finding, too."""
    try:
        return await checking
    except Unavailable as exc:
        return CheckResult(
            check, "fail", str(exc), "try again; if that is no passing trouble: " + remedy, unreachable=True
        )
    except SmeltError as exc:
        return CheckResult(check, "fail", str(exc), remedy)
