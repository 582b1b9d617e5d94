"""A close completes even if its task is cancelled at any await."""

import pytest

from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from tests.harness.cancellation import cancel_at_every_await
from tests.harness.leaks import assert_no_leaks
from tests.harness.waiting import until
from tests.integration.backend.scripted_realtime import ScriptedRealtime

pytestmark = pytest.mark.usefixtures("no_backoff")

TIMINGS = RealtimeTimings(heartbeat_interval_s=60, joins_per_second=1000, channels_per_socket=2)


async def joined(server: ScriptedRealtime) -> Project:
    """Open a project with three channels on two sockets, and a token that must be renewed."""

    async def token() -> str:
        return "a token"

    project = Project(server.url, "sb_publishable_x", access_token=token, timings=TIMINGS)
    channels = [await project.realtime.join(topic) for topic in ("smelt:a", "smelt:b", "smelt:c")]
    assert all([await channel.wait_joined(30) for channel in channels])
    assert len(server.sockets) == 2
    return project


@pytest.mark.parametrize("repeatedly", [False, True])
async def test_close_finishes_when_cancelled_at_any_await(server: ScriptedRealtime, repeatedly: bool) -> None:
    async with assert_no_leaks():
        project = await joined(server)

        async def check() -> None:
            nonlocal project
            await until(lambda: not server.sockets)
            assert project.realtime.report().channel_count == 0
            project = await joined(server)

        assert await cancel_at_every_await(lambda: project.aclose(), check, repeatedly=repeatedly)
        await project.aclose()
