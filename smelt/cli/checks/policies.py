"""Checks the policies by trying what must be rejected, with random ids that no smelt has."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from smelt.backend.project import Project
from smelt.backend.realtime import ChangesOf
from smelt.cli.checks.result import CheckResult, run_check
from smelt.contract.channels import WORKERS_CHANNEL, notifications_channel, smelt_channel
from smelt.errors import Unauthorized, Unavailable

_POLICIES: Final = "apply smelt's migrations again, and look for policies that were added besides smelt's"
_REALTIME: Final = "check the Realtime settings and logs of the project"
_CHANGES: Final = (
    "check that the publication supabase_realtime contains public.smelts, and the logs of Realtime; from Postgres "
    "17.12 on, `output_plugin_libraries` must contain wal2json"
)
_JOIN_TIMEOUT_S: Final = 10.0
# A real Realtime needs seconds for the first subscription.
_CHANGES_TIMEOUT_S: Final = 20.0
LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


async def check_visitor_policies(project: Project, key: str, *, can_broadcast: bool) -> AsyncIterator[CheckResult]:
    """Try, with the anon key, what no app may do.

    Args:
        project: The project with the anon key.
        key: The anon key.
        can_broadcast: False if a worker's broadcast has failed, so that a rejected one shows nothing.
    """
    # Realtime takes seconds to reject a join, so the other checks run meanwhile.
    joining = asyncio.create_task(run_check("foreign channel", _foreign_channel(project), _POLICIES))
    if can_broadcast:
        yield await run_check("forbidden broadcast", _forbidden_broadcast(project), _POLICIES)
    yield await run_check("public channels", _public_channels(project.url, key), _REALTIME)
    yield await run_check("foreign rows", _foreign_rows(project), _POLICIES)
    yield await joining


async def check_worker_policies(project: Project, missing_partition: str | None) -> AsyncIterator[CheckResult]:
    """Try what a worker must be able to do, and what the feeds of apps need."""
    yield await run_check("broadcast", _broadcast(project, missing_partition), _REALTIME)
    yield await run_check("wake-up channel", _workers_channel(project), _REALTIME)
    yield await run_check("changes", _changes(project), _CHANGES)


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


async def _public_channels(url: str, key: str) -> CheckResult:
    check = "public channels"
    try:
        async with asyncio.timeout(_JOIN_TIMEOUT_S):
            is_open = await _joins_publicly(url, key)
    except (OSError, TimeoutError, WebSocketException) as exc:
        raise Unavailable(f"Realtime does not respond ({type(exc).__name__})") from exc
    if not is_open:
        return CheckResult(check, "ok", "closed")
    if urlsplit(url).hostname in LOCAL_HOSTS:
        return CheckResult(check, "ok", "open, as on every local stack")
    remedy = (
        'turn off "Allow public access" in the settings of Realtime: a public channel has no policies, and an app that '
        "forgets `private: true` joins one, on which smelt broadcasts nothing"
    )
    return CheckResult(check, "warn", "anyone with the anon key can join and use public channels", remedy)


async def _joins_publicly(url: str, key: str) -> bool:
    """Return True if Realtime accepts the join of a public channel; smelt's own connection has only private ones."""
    topic = f"realtime:smelt-doctor-{uuid4()}"
    config = {"private": False, "broadcast": {}, "presence": {"enabled": False}, "postgres_changes": []}
    join = {"topic": topic, "event": "phx_join", "payload": {"config": config}, "ref": "1", "join_ref": "1"}
    address = f"ws{url.removeprefix('http')}/realtime/v1/websocket?{urlencode({'apikey': key, 'vsn': '1.0.0'})}"
    async with connect(address) as socket:
        await socket.send(json.dumps(join))
        async for text in socket:
            message = json.loads(text)
            if message["event"] == "phx_reply" and message["ref"] == "1":
                return bool(message["payload"]["status"] == "ok")
    raise Unavailable("Realtime closed the connection")


async def _changes(project: Project) -> CheckResult:
    check = "changes"
    channel = await project.realtime.join(f"smelt-doctor-{uuid4()}", changes=[ChangesOf("smelts")])
    try:
        if await channel.wait_joined(_CHANGES_TIMEOUT_S):
            return CheckResult(check, "ok", "Realtime reads the changes of public.smelts, which feeds need")
        return CheckResult(check, "warn", "Realtime does not read the changes of public.smelts; feeds poll", _CHANGES)
    finally:
        await channel.leave()


async def _broadcast(project: Project, missing_partition: str | None) -> CheckResult:
    if missing_partition is not None:
        remedy = "restart Realtime, which creates it, and look for MissingPartition in its logs"
        observed = f"realtime.{missing_partition} does not exist: all broadcasts of today are lost, watches poll"
        return CheckResult("broadcast", "fail", observed, remedy)
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
