"""A project that connects to a scripted server, and a recorder of channel events."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from smelt.backend.project import Project
from smelt.backend.realtime import Broadcast, ChannelEvent, GaveUp, Joined, Left, RealtimeTimings, RowChanged
from smelt.backend.tokens import TokenCallable
from smelt.errors import SmeltError
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
    """Records the events of a channel."""

    def __init__(self) -> None:
        self.events: list[ChannelEvent] = []

    @property
    def messages(self) -> list[tuple[str, object]]:
        return [(event.event, event.payload) for event in self.events if isinstance(event, Broadcast)]

    @property
    def changes(self) -> list[Any]:
        return [event.change for event in self.events if isinstance(event, RowChanged)]

    @property
    def joined_count(self) -> int:
        return sum(isinstance(event, Joined) for event in self.events)

    @property
    def left_count(self) -> int:
        return sum(isinstance(event, Left) for event in self.events)

    @property
    def errors(self) -> list[SmeltError]:
        return [event.error for event in self.events if isinstance(event, GaveUp)]
