"""Whether the policies hold: tries what must be refused, on names that nobody uses."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from smelt.backend.project import Project
from smelt.cli.checks.result import CheckResult, run_check
from smelt.contract.channels import WORKERS_CHANNEL, notifications_channel, smelt_channel
from smelt.errors import Unauthorized, Unavailable

_POLICIES: Final = "apply smelt's migrations again, and look for policies that were added beside theirs"
_REALTIME: Final = "look at the Realtime settings and logs of the project"
_JOIN_TIMEOUT_S: Final = 10.0


async def check_visitor_policies(project: Project) -> AsyncIterator[CheckResult]:
    """Try, with the key that every app has, what no app may do."""
    # Realtime takes its time to refuse.
    joining = asyncio.create_task(run_check("foreign channel", _foreign_channel(project), _POLICIES))
    yield await run_check("forbidden broadcast", _forbidden_broadcast(project), _POLICIES)
    yield await run_check("foreign rows", _foreign_rows(project), _POLICIES)
    yield await joining


async def check_worker_policies(project: Project) -> AsyncIterator[CheckResult]:
    """Try what a worker has to be able to do."""
    yield await run_check("broadcast", _broadcast(project), _REALTIME)
    yield await run_check("wake-up channel", _workers_channel(project), _REALTIME)


async def _forbidden_broadcast(project: Project) -> CheckResult:
    check = "forbidden broadcast"
    try:
        await project.realtime.post(smelt_channel(str(uuid4())), "progress", {})
    except Unauthorized:
        return CheckResult(check, "ok", "an app can't broadcast on the channel of a smelt")
    remedy = "drop the policies for INSERT on realtime.messages that let anon in: anybody can fake progress"
    return CheckResult(check, "fail", "an app can broadcast on the channel of a smelt", remedy)


async def _foreign_channel(project: Project) -> CheckResult:
    check = "foreign channel"
    channel = await project.realtime.join(notifications_channel(str(uuid4())))
    try:
        if await channel.wait_joined(_JOIN_TIMEOUT_S):
            remedy = "drop the policies for SELECT on realtime.messages that let anon in: anybody can listen"
            return CheckResult(check, "fail", "an app can join somebody else's private channel", remedy)
        if isinstance(channel.error, Unauthorized):
            return CheckResult(check, "ok", "an app can't join somebody else's private channel")
        raise Unavailable(f"Realtime did not answer within {_JOIN_TIMEOUT_S:.0f} s")
    finally:
        await channel.leave()


async def _foreign_rows(project: Project) -> CheckResult:
    check = "foreign rows"
    try:
        await project.rpc.row("smelts", uuid4())
    except Unauthorized:
        return CheckResult(check, "ok", "without signing in, no table of smelts can be read")
    remedy = "revoke all on public.smelts from anon; visitors read their smelts through get_smelt"
    return CheckResult(check, "fail", "without signing in, the table of smelts can be read", remedy)


async def _broadcast(project: Project) -> CheckResult:
    await project.realtime.post(smelt_channel(str(uuid4())), "progress", {})
    return CheckResult("broadcast", "ok", "a worker can broadcast on the channel of a smelt")


async def _workers_channel(project: Project) -> CheckResult:
    check = "wake-up channel"
    channel = await project.realtime.join(WORKERS_CHANNEL)
    try:
        if await channel.wait_joined(_JOIN_TIMEOUT_S):
            return CheckResult(check, "ok", "a worker hears of new work at once")
        raise channel.error or Unavailable(f"Realtime did not answer within {_JOIN_TIMEOUT_S:.0f} s")
    finally:
        await channel.leave()
