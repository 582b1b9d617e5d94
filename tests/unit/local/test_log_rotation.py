"""Rotation of the log files of a running stack."""

import asyncio
from pathlib import Path

from smelt.local.processes import logs
from tests.harness.waiting import until


async def test_log_rotation_empties_a_large_file_under_its_writer(tmp_path: Path) -> None:
    """The writer continues in the same file, one old file is kept, and followers see the next lines."""
    log, small = tmp_path / "postgres.log", tmp_path / "supervisor.log"
    small.write_text("small\n")
    (tmp_path / "postgres.old").write_text("older\n")
    with log.open("a") as writer:
        writer.write("x" * logs.MAX_LOG_BYTES + "\n")
        writer.flush()
        tail = logs.LogTail(log)
        followed: list[str] = []
        following = asyncio.create_task(_follow(log, followed))
        rotating = asyncio.create_task(logs.keep_rotating(tmp_path, interval_s=0.001))
        await until(lambda: log.stat().st_size == 0)
        writer.write("ERROR next\n")
        writer.flush()
        await until(lambda: followed == ["ERROR next"])
        for task in (following, rotating):
            task.cancel()
    assert (tmp_path / "postgres.old").stat().st_size == logs.MAX_LOG_BYTES + 1
    assert log.read_text() == tail.text() == "ERROR next\n"
    assert small.read_text() == "small\n"


async def _follow(log: Path, lines: list[str]) -> None:
    async for _, line in logs.follow([log]):
        lines.append(line)
