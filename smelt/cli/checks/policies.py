"""Checks the policies by trying what must be rejected, with random ids that no smelt has."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from smelt.backend.project import Project
from smelt.cli.checks.result import CheckResult, run_check
from smelt.contract.channels import WORKERS_CHANNEL, notifications_channel, smelt_channel
from smelt.errors import Unauthorized, Unavailable

_POLICIES: Final = "apply smelt's migrations again, and look for policies that were added besides smelt's"
_REALTIME: Final = "check the Realtime settings and logs of the project"
_JOIN_TIMEOUT_S: Final = 10.0


async def check_visitor_policies(project: Project) -> AsyncIterator[CheckResult]:
    """Try, with the anon key, what no app may do."""
    # Realtime takes seconds to reject a join, so the other checks run meanwhile.
    joining = asyncio.create_task(run_check("foreign channel", _foreign_channel(project), _POLICIES))
    yield await run_check("forbidden broadcast", _forbidden_broadcast(project), _POLICIES)
    yield await run_check("foreign rows", _foreign_rows(project), _POLICIES)
    yield await joining


async def check_worker_policies(project: Project) -> AsyncIterator[CheckResult]:
    """Try what a worker must be able to do."""
    yield await run_check("broadcast", _broadcast(project), _REALTIME)
    yield await run_check("wake-up channel", _workers_channel(project), _REALTIME)


async def _forbidden_broadcast(project: Project) -> CheckResult:
    check = "forbidden broadcast"
    try:
        await project.realtime.post(smelt_channel(str(uuid4())), "progress", {})
    except Unauthorized:
        return CheckResult(check, "ok", "an app can't broadcast on the channel of a smelt")
    remedy = "drop the policies for INSERT on realtime.messages that admit anon: anyone can fake progress"
    return CheckResult(check, "fail", "an app can broadcast on the channel of a smelt", remedy)


async def _foreign_channel(project: Project) -> CheckResult:
    check = "foreign channel"
    channel = await project.realtime.join(notifications_channel(str(uuid4())))
    try:
        if await channel.wait_joined(_JOIN_TIMEOUT_S):
            remedy = "drop the policies for SELECT on realtime.messages that admit anon: anyone can listen"
            return CheckResult(check, "fail", "an app can join the private channel of another user", remedy)
        if isinstance(channel.error, Unauthorized):
            return CheckResult(check, "ok", "an app can't join the private channel of another user")
        raise Unavailable(f"Realtime did not respond within {_JOIN_TIMEOUT_S:.0f} s")
    finally:
        await channel.leave()


async def _foreign_rows(project: Project) -> CheckResult:
    check = "foreign rows"
    try:
        await project.rpc.row("smelts", uuid4())
    except Unauthorized:
        return CheckResult(check, "ok", "public.smelts can't be read without signing in")
    remedy = "run `revoke all on public.smelts from anon`; visitors read their smelts with get_smelt"
    return CheckResult(check, "fail", "public.smelts can be read without signing in", remedy)


async def _broadcast(project: Project) -> CheckResult:
    await project.realtime.post(smelt_channel(str(uuid4())), "progress", {})
    return CheckResult("broadcast", "ok", "a worker can broadcast on the channel of a smelt")


async def _workers_channel(project: Project) -> CheckResult:
    check = "wake-up channel"
    channel = await project.realtime.join(WORKERS_CHANNEL)
    try:
        if await channel.wait_joined(_JOIN_TIMEOUT_S):
            return CheckResult(check, "ok", "a worker can join the channel for wake-ups")
        raise channel.error or Unavailable(f"Realtime did not respond within {_JOIN_TIMEOUT_S:.0f} s")
    finally:
        await channel.leave()
