"""The server sends the same frames as the platform's Realtime in the recordings.

When run alone, these tests print a table of the compared frames and the deliberate differences.
"""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from smelt.local.database.postgres import Postgres
from tests.integration.local.realtime.realtime_server import Reachable, serving
from tests.integration.local.realtime.replayer import Act, Replayer
from tests.integration.local.realtime.scenarios import (
    ACTS,
    BEFORE,
    HEADERS,
    OPTIONS,
    SERVER_CLOSES,
    STATEMENTS,
    TOPICS_MAY_SWAP,
    recordings,
    steps_of,
)
from tests.integration.local.realtime.server_process import running_in_process

RESTARTED = "10_server_restart"

Record = Callable[[str, Any], None]


@pytest.mark.parametrize("name", [name for name in recordings() if name != RESTARTED])
async def test_frames_match_the_recording(realtime_postgres: Postgres, name: str, record_property: Record) -> None:
    """Every frame and response equals the recorded one, except for identifiers and times."""
    async with serving(realtime_postgres, **OPTIONS.get(name, {})) as server:
        await server.sql(BEFORE.get(name, ""))
        await _replay(server, name, record_property, ACTS)


async def test_restart_and_kill_match_the_recording(realtime_postgres: Postgres, record_property: Record) -> None:
    """The recording of a server restart and a kill."""
    async with running_in_process(realtime_postgres) as (server, process):

        async def stop(replayer: Replayer) -> None:
            await process.end(signal.SIGTERM)

        async def start(replayer: Replayer) -> None:
            await process.start()

        async def kill(replayer: Replayer) -> None:
            await process.end(signal.SIGKILL)

        acts = {"graceful stop begins": stop, "server started again": start, "SIGKILL": kill}
        await _replay(server, RESTARTED, record_property, acts)


async def _replay(server: Reachable, name: str, record_property: Record, acts: dict[str, Act]) -> None:
    replayer = Replayer(
        server,
        steps_of(name),
        statements=STATEMENTS,
        headers=HEADERS,
        acts=acts,
        topics_may_swap=name in TOPICS_MAY_SWAP,
        server_closes=name in SERVER_CLOSES,
    )
    tally = await replayer.play()
    record_property("tally", (name, tally.compared, tally.passed, tally.deliberate))
    assert not tally.differences, "\n".join(tally.differences)
    assert tally.compared
