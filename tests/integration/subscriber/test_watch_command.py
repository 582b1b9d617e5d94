"""`smelt watch` shows that the connection is lost, goes on all the same, and shows that it is back."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from hands import Hand
from proxies import FaultyProxy
from stacks import Stack, User
from waiting import until

from smelt.subscriber.client import Client


@asynccontextmanager
async def smelt_watch(
    url: str, key: str, user: User, smelt_id: UUID, folder: Path
) -> AsyncIterator[tuple[Process, Callable[[], str]]]:
    """The command, and what it has printed so far."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "SUPABASE_URL": url, "SUPABASE_ANON_KEY": key}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "smelt", "watch", str(smelt_id)),
        env={**env, "SMELT_ACCESS_TOKEN": user.access_token, "PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=folder,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = bytearray()

    async def read(stream: asyncio.StreamReader) -> None:
        while piece := await stream.read(1 << 16):
            printed.extend(piece)

    reading = asyncio.create_task(read(process.stdout))
    try:
        yield process, lambda: printed.decode()
        await reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        reading.cancel()


async def test_a_lost_connection_is_shown(
    workshop: Stack, proxy: FaultyProxy, user: User, client: Client, hand: Hand, tmp_path: Path
) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await hand.claim(created.id)
    async with smelt_watch(proxy.url, workshop.anon_key, user, created.id, tmp_path) as (process, printed):
        await until(lambda: "Waiting to process" in printed() and proxy.accepted["realtime"], within_s=30)
        await job.report("validating", 5)
        await until(lambda: "Validating" in printed())
        proxy.refuse("realtime")
        await until(lambda: "reconnecting, meanwhile polling" in printed())
        proxy.heal()
        await until(lambda: "live again" in printed(), within_s=20)
        await job.complete("the notes")
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert "the notes" in printed()
    assert "Traceback" not in printed()
