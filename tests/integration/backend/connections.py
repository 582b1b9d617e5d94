"""A project that connects to a scripted server, and a recorder of channel callbacks."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from smelt.backend.tokens import TokenCallable
from tests.harness.waiting import until
from tests.integration.backend.scripted_realtime import ScriptedRealtime

SHORT_TIMEOUTS = RealtimeTimings(
    heartbeat_interval_s=0.2, reply_timeout_s=0.4, join_timeout_s=1, rate_limit_delay_s=0.2, joins_per_second=1000
)
LONG_HEARTBEAT = RealtimeTimings(heartbeat_interval_s=60, joins_per_second=1000)


@asynccontextmanager
async def project(
    server: ScriptedRealtime,
    *,
    timings: RealtimeTimings = SHORT_TIMEOUTS,
    access_token: str | TokenCallable | None = None,
) -> AsyncIterator[Project]:
    """Open a project at the server; assert afterwards that it leaks no task and no thread."""
    before = asyncio.all_tasks()
    threads = threading.active_count()
    async with Project(server.url, "sb_publishable_x", access_token=access_token, timings=timings) as opened:
        yield opened
    await until(lambda: not server.sockets and not _remaining_tasks(before))
    assert threading.active_count() <= threads + 1


def _remaining_tasks(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    modules = ("smelt/", "realtime/_async", "websockets/asyncio/connection", "httpx")
    return {task for task in asyncio.all_tasks() - before if any(module in repr(task) for module in modules)}


class ChannelRecorder:
    """Records the callbacks of a channel."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, object]] = []
        self.joined_count = 0
        self.leave_errors: list[Exception | None] = []

    def on_message(self, event: str, payload: object) -> None:
        self.messages.append((event, payload))

    def on_joined(self) -> None:
        self.joined_count += 1

    @property
    def callbacks(self) -> dict[str, Any]:
        return {"on_message": self.on_message, "on_joined": self.on_joined, "on_left": self.leave_errors.append}
