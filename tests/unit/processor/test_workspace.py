"""The folders and model queue of a worker, and the trust report."""

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smelt.errors import SettingsError
from smelt.processor.errors import DiskFull
from smelt.processor.model_queue import ModelQueue
from smelt.processor.workspace import workspace
from tests.harness.impostors import each_impostor, needs_root
from tests.harness.processes import run


def test_workspace_folder_is_removed_after_smelt_and_worker(tmp_path: Path) -> None:
    with workspace(tmp_path / "work") as own:
        with own.folder("smelt") as folder:
            (folder / "a.pcm").write_bytes(b"x")
        assert not folder.exists()
        with pytest.raises(KeyError), own.folder("smelt") as folder:
            raise KeyError
        assert not folder.exists()
        own.require_space(1)
        with pytest.raises(DiskFull):
            own.require_space(10**18)
        with pytest.raises(DiskFull, match="it is full"), own.map_disk_full():
            raise OSError(errno.ENOSPC, "it is full")
        with pytest.raises(FileNotFoundError), own.map_disk_full():
            (tmp_path / "none").rmdir()
        shutil.rmtree(next((tmp_path / "work").iterdir()))
        own.require_space()
        with own.folder("after a clean-up") as folder:
            assert folder.is_dir()
    assert list((tmp_path / "work").iterdir()) == []


def test_workspace_error_names_the_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(SettingsError, match=f"SMELT_TEMP_DIR .*{parent}"), workspace(parent):
            pass


def test_workspace_supports_concurrent_workers(tmp_path: Path) -> None:
    def start(_: int) -> int:
        with workspace(tmp_path) as own, own.folder("smelt"):
            return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(start, range(200))) == 200
    assert list(tmp_path.iterdir()) == []


@each_impostor
def test_workspace_starts_beside_a_lock_that_is_not_a_workers(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """Opening a named pipe would block forever."""
    planted = tmp_path / "smelt-worker-x"
    planted.mkdir()
    plant(planted / "lock")
    with workspace(tmp_path) as own, own.folder("smelt") as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == [planted]


@needs_root
def test_workspace_leaves_a_folder_of_another_user_alone(tmp_path: Path) -> None:
    planted = tmp_path / "smelt-worker-x"
    planted.mkdir()
    (planted / "lock").touch()
    os.chown(planted, 1, -1)
    with workspace(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [planted]


def test_workspace_cleanup_removes_only_folders_of_dead_workers(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from smelt.processor.workspace import workspace\n"
        "with workspace(pathlib.Path(sys.argv[1])) as own, own.folder('smelt') as folder:\n"
        "    (folder / 'a.pcm').write_bytes(b'x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with workspace(tmp_path):
        [alive] = tmp_path.iterdir()
        killed = run([sys.executable, "-c", program, tmp_path])
        assert killed.returncode == -9
        assert len(list(tmp_path.iterdir())) == 2
        with workspace(tmp_path):
            assert alive in tmp_path.iterdir()
            assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


async def test_model_queue_is_fifo_and_lists_entries_ahead() -> None:
    model_queue = ModelQueue()
    order: list[str] = []
    first_done = asyncio.Event()
    estimates = {"a": lambda: 30.0, "b": lambda: 20.0}

    async def take(name: str, until: asyncio.Event | None) -> None:
        async with model_queue.lane(estimates[name]):
            order.append(name)
            if until is not None:
                await until.wait()

    tasks = [asyncio.create_task(take("a", first_done)), asyncio.create_task(take("b", None))]
    await asyncio.sleep(0)
    assert [model_queue.wait_s(one) for one in (estimates["a"], estimates["b"], lambda: 0.0)] == [0.0, 30.0, 50.0]
    first_done.set()
    await asyncio.wait(tasks)
    assert order == ["a", "b"]
    assert model_queue.wait_s(lambda: 0.0) == 0.0


async def test_model_queue_begins_as_many_entries_as_there_are_lanes() -> None:
    model_queue, begun, ends = ModelQueue(lambda: 2), [], [asyncio.Event() for _ in range(4)]
    needed: list[Callable[[], float | None]] = [lambda: 30.0, lambda: 10.0, lambda: 5.0, lambda: None]

    async def take(number: int) -> None:
        async with model_queue.lane(needed[number]):
            begun.append(number)
            await ends[number].wait()

    tasks = []
    for number in range(3):
        assert model_queue.is_free is (number < 2)
        tasks.append(asyncio.create_task(take(number)))
        await asyncio.sleep(0)
    # The third one follows the second, which ends first.
    assert [model_queue.wait_s(one) for one in needed] == [0.0, 0.0, 10.0, 15.0]
    assert begun == [0, 1]
    ends[1].set()
    await asyncio.wait({tasks[1]})
    await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    tasks.append(asyncio.create_task(take(3)))
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    await asyncio.sleep(0)
    assert begun == [0, 1, 2, 3]
    # One needs 5 s, the other an unknown time.
    assert model_queue.wait_s(lambda: 0.0) == 5.0
    ends[2].set()
    await asyncio.wait({tasks[2]})
    assert model_queue.wait_s(lambda: 0.0) == 0.0
    ends[3].set()
    await asyncio.wait(tasks)


async def test_model_queue_does_not_know_when_entries_of_unknown_length_end() -> None:
    model_queue = ModelQueue()
    async with model_queue.lane(lambda: None):
        assert model_queue.wait_s(lambda: 0.0) is None
