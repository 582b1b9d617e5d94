"""A child process: messages, limits, how it ends, and that it never outlives its worker."""

import asyncio
import errno
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from smelt.processor.children import process as process_module
from smelt.processor.children.frames import MAX_MESSAGE_BYTES, InvalidFrame, body_bytes, frame, parse_body
from smelt.processor.children.process import Child, ChildDied, Death
from tests.harness.leaks import assert_no_leaks
from tests.harness.processes import assert_end_with_worker, assert_ended, started_by_workers
from tests.harness.waiting import until

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[3]
MISBEHAVING = "tests.unit.processor.children.misbehaving_child"
TIMEOUT_S = 60.0


@asynccontextmanager
async def started(**environment: str) -> AsyncIterator[Child]:
    child = await Child.start(MISBEHAVING, environment={"PYTHONPATH": str(ROOT)} | environment)
    try:
        yield child
    finally:
        await child.end()


async def response(child: Child, **message: Any) -> dict[str, Any]:
    await child.send(message)
    return await child.receive(TIMEOUT_S)


async def death(child: Child, timeout_s: float = TIMEOUT_S, **message: Any) -> Death:
    """Return how a working child ends after a message."""
    process = psutil.Process(child.pid)
    child.stage = "working"
    await child.send(message)
    with pytest.raises(ChildDied) as error:
        await child.receive(timeout_s)
    assert_ended([process])
    return error.value.death


async def test_child_receives_messages_in_order() -> None:
    async with assert_no_leaks(), started() as child:
        assert child.stage == "idle"
        for text in ("a", "", "ü" * 100_000):
            assert await response(child, do="echo", text=text) == {"do": "echo", "text": text}


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_last_message_of_a_child_that_ends_is_received(is_waiting: bool) -> None:
    """Otherwise its work would be lost, and count as a death."""
    message = {"do": "send and end", "text": "x" * 20_000}
    async with started() as child:
        await child.send(message)
        if is_waiting:
            assert await child.receive(TIMEOUT_S) == message
            await child.dying
        else:
            await child.dying
            assert await child.receive(TIMEOUT_S) == message
        with pytest.raises(ChildDied):
            await child.receive(TIMEOUT_S)


async def test_child_receives_descriptors_with_their_message() -> None:
    async with started() as child:
        with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
            first.write(b"one")
            second.write(b"two")
            first.flush()
            second.flush()
            await child.send({"do": "echo"})
            await child.send({"do": "read"}, [first.fileno(), second.fileno()])
        assert await child.receive(TIMEOUT_S) == {"do": "echo"}
        assert await child.receive(TIMEOUT_S) == {"content": ["one", "two"]}
        before = (await response(child, do="facts"))["open"]
        assert (await response(child, do="facts"))["open"] == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_child_inherits_no_key_no_folder_and_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    async with started() as child:
        facts = await response(child, do="facts")
    assert "SUPABASE_SERVICE_ROLE_KEY" not in facts["environment"]
    assert facts["environment"]["LANG"] == "C.UTF-8"
    # Null device, output twice, the connection, and the listing itself.
    assert len(facts["open"]) == 5
    assert facts["input"] == ""
    assert not {"", str(tmp_path)}.intersection(facts["path"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_child_gives_up_rights_and_is_the_first_to_go_without_memory() -> None:
    async with started() as child:
        facts = await response(child, do="facts")
    assert facts["session"] == facts["pid"] == child.pid
    assert facts["oom_score_adj"] == "500"
    assert facts["no_new_privs"] == "1"
    assert facts["core"] == [0, 0]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGXCPU", "SIGXFSZ"])
async def test_signal_of_its_own_is_the_fault_of_the_work(name: str) -> None:
    number = getattr(signal, name)
    async with started() as child:
        died = await death(child, do="crash", number=number)
    assert died == Death(returncode=-number, stage="working")
    assert died.fault == "work"
    assert str(died) == f"the child died of {name} while working"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
async def test_signal_of_others_has_an_unknown_cause(name: str) -> None:
    number = getattr(signal, name)
    async with started() as child:
        died = await death(child, do="kill", number=number)
    assert died == Death(returncode=-number, stage="working")
    assert died.fault == "unknown"


async def test_exit_while_working_is_the_fault_of_the_work() -> None:
    async with started() as child:
        died = await death(child, do="exit", code=3)
    assert died == Death(returncode=3, stage="working")
    assert died.fault == "work"
    assert str(died) == "the child exited with 3 while working"


async def test_death_while_idle_is_the_fault_of_the_machine() -> None:
    async with started() as child:
        os.kill(child.pid, signal.SIGKILL)
        died = await child.dying
        assert died == Death(returncode=-9, stage="idle")
        assert died.fault == "machine"
        with pytest.raises(ChildDied) as error:
            await response(child, do="echo")
        assert error.value.death == died


@pytest.mark.parametrize("start", ["raise", "other"])
async def test_start_fails_with_a_child_that_does_not_get_ready(start: str) -> None:
    async with assert_no_leaks():
        with pytest.raises(ChildDied) as error:
            async with started(START=start):
                pass
    assert error.value.death.stage == "starting"
    assert error.value.death.fault == "machine"


async def test_start_times_out() -> None:
    async with assert_no_leaks():
        with pytest.raises(ChildDied, match=r"was killed \(timeout\) while starting: no message for 0.5 s"):
            await Child.start(MISBEHAVING, environment={"PYTHONPATH": str(ROOT), "START": "hang"}, timeout_s=0.5)


async def test_start_that_is_cancelled_leaves_no_process() -> None:
    before = set(started_by_workers())
    starting = asyncio.create_task(Child.start(MISBEHAVING, environment={"PYTHONPATH": str(ROOT), "START": "hang"}))
    await until(lambda: set(started_by_workers()) - before)
    new = set(started_by_workers()) - before
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert_ended(list(new))


async def test_start_of_a_missing_program_is_the_fault_of_the_machine_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    async with assert_no_leaks():
        with pytest.raises(ChildDied, match=r"^the child could not be started: .*/nonexistent") as error:
            await Child.start(MISBEHAVING)
    assert (error.value.death.stage, error.value.death.fault) == ("starting", "machine")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff\xff\xff", "4294967295 bytes"),
        ((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), f"{MAX_MESSAGE_BYTES} are allowed"),
        (b"\0\0\0\2[]", "no JSON object: list"),
        (b"\0\0\0\3{x}", "no JSON"),
        (b"\0\0\0\2\xff\xff", "no JSON: UnicodeDecodeError"),
        (b'\0\0\0\x09{"x":NaN}', "no JSON"),
        (b"\0\1\0\0" + b"[" * 65536, "no JSON: RecursionError"),
        (b"\0\0\0\0", "no JSON"),
    ],
)
async def test_invalid_message_kills_the_child(data: bytes, reason: str) -> None:
    async with started() as child:
        died = await death(child, do="raw", data=data.hex())
    assert died.killed_for == "protocol"
    assert died.fault == "work"
    assert reason in died.detail


async def test_message_that_does_not_end_kills_the_child() -> None:
    async with started() as child:
        died = await death(child, 0.5, do="raw", data=(b"\0\0\0\7" + b"{}").hex())
    assert died.killed_for == "timeout"


async def test_silence_kills_the_child() -> None:
    async with started() as child:
        died = await death(child, 0.5, do="hang")
    assert died == Death(returncode=-9, stage="working", killed_for="timeout", detail="no message for 0.5 s")
    assert died.fault == "work"
    assert str(died) == "the child was killed (timeout) while working: no message for 0.5 s"


async def test_child_that_does_not_read_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_SEND_TIMEOUT_S", 0.5)
    async with started() as child:
        await child.send({"do": "hang"})
        child.stage = "working"
        with pytest.raises(ChildDied) as error:
            await child.send({"do": "echo", "text": "x" * (MAX_MESSAGE_BYTES - 100)})
    assert error.value.death.killed_for == "timeout"


async def test_child_that_disconnects_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_EXIT_TIMEOUT_S", 0.1)
    async with started() as child:
        died = await death(child, do="disconnect")
    assert died.killed_for == "protocol"


async def test_largest_message_arrives() -> None:
    async with started() as child:
        message = await response(child, do="large", size=MAX_MESSAGE_BYTES - len('{"x":""}'))
    assert len(message["x"]) == MAX_MESSAGE_BYTES - 8


async def test_cancelled_receive_loses_no_message() -> None:
    async with started() as child:
        for number in range(200):
            await child.send({"do": "echo", "number": number})
        numbers: list[int] = []
        while len(numbers) < 200:
            receiving = asyncio.create_task(child.receive(TIMEOUT_S))
            for _ in range(len(numbers) % 3):
                await asyncio.sleep(0)
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                numbers.append((await receiving)["number"])
            numbers.append((await child.receive(TIMEOUT_S))["number"])
    assert numbers == list(range(200))


async def test_end_kills_the_group_and_wakes_the_task_that_receives() -> None:
    async with assert_no_leaks(), started() as child:
        descendant = psutil.Process((await response(child, do="descendant", own_session=False))["pid"])
        child.stage = "working"
        receiving = asyncio.create_task(child.receive(TIMEOUT_S))
        await asyncio.sleep(0)
        died = await child.end()
        assert died == Death(returncode=-9, stage="working", killed_for="ended")
        assert died.fault == "unknown"
        with pytest.raises(ChildDied):
            await receiving
        assert_ended([descendant])
        assert await child.end() == died


async def test_closed_connection_wakes_the_task_that_waits_for_it() -> None:
    reading_end, writing_end = os.pipe()
    connection = process_module._Descriptor(reading_end)
    reading = asyncio.create_task(connection.read(10))
    await asyncio.sleep(0)
    connection.close()
    with pytest.raises(ConnectionResetError):
        await reading
    with pytest.raises(ConnectionResetError):
        await connection.read(10)
    os.close(writing_end)


async def test_group_ends_with_a_child_that_crashes() -> None:
    async with started() as child:
        descendant = psutil.Process((await response(child, do="descendant", own_session=False))["pid"])
        await death(child, do="crash", number=signal.SIGSEGV)
        assert_ended([descendant])


async def test_end_does_not_wait_for_a_process_that_left_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_OUTPUT_TIMEOUT_S", 0.01)
    async with started() as child:
        descendant = psutil.Process((await response(child, do="descendant", own_session=True))["pid"])
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await child.end()
        finally:
            descendant.kill()


async def test_output_is_logged_without_control_characters_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with started() as child:
        await response(child, do="print", text="title \x1b]0;x\x07 ü\nsecond")
        await response(child, do="print", text="y" * 200_000)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records[:2]] == [
        "title \\x1b]0;x\\x07 ü",
        "second",
    ]
    assert sum(len(record.getMessage()) for record in caplog.records) < 20_000


async def test_error_of_a_start_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ChildDied):
        async with started(START="raise"):
            pass
    assert "RuntimeError: no library" in caplog.text


async def test_limit_of_processor_time_ends_the_child_by_its_signal() -> None:
    async with started() as child:
        died = await death(child, do="exceed processor")
    assert died == Death(returncode=-signal.SIGXCPU, stage="working")


async def test_limits_of_resources_raise_errors() -> None:
    async with started() as child:
        errors = (await response(child, do="exceed resources"))["errors"]
    memory = "MemoryError" if sys.platform == "linux" else "none"
    assert errors == [memory, str(errno.EFBIG), str(errno.EMFILE)]


@pytest.mark.parametrize("start", ["", "on another system"])
@pytest.mark.parametrize("state", ["idle", "hanging"])
def test_child_ends_with_a_worker_that_is_killed(start: str, state: str) -> None:
    command = [sys.executable, str(FOLDER / "parent_of_child.py"), start, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            child = psutil.Process(int(worker.stdout.readline()))
        finally:
            worker.kill()
            worker.wait()
    assert_end_with_worker([child])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread of the child waits for the end of its worker")
async def test_kernel_ends_a_child_and_its_copies_with_their_parents() -> None:
    async with started() as child:
        assert await response(child, do="death signal") == {"signal": signal.SIGKILL}
        assert await response(child, do="death signal", in_copy=True) == {"signal": signal.SIGKILL}


@pytest.mark.parametrize("number", [0, 3, -signal.SIGSEGV, -signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is copied")
async def test_end_of_a_copy_is_known_and_repeated_by_its_original(number: int) -> None:
    async with started() as child:
        died = await death(child, do="end like a copy", number=number)
    assert died.returncode == number


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is copied")
async def test_copy_that_raises_ends_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with started() as child:
        assert await response(child, do="raise in a copy") == {"returncode": 1}
    assert "ZeroDivisionError" in caplog.text


def test_child_without_its_worker_does_not_start() -> None:
    command = [sys.executable, "-m", MISBEHAVING, "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert done.stdout == b""
    assert done.returncode == 0


def test_died_survives_pickle() -> None:
    error = ChildDied(Death(returncode=-9, stage="working"))
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.death) == (str(error), error.death)


def test_signal_without_a_name_is_described() -> None:
    assert str(Death(returncode=-40, stage="idle")) == "the child died of signal 40 while idle"


def test_frame_is_limited() -> None:
    with pytest.raises(ValueError, match="are allowed"):
        frame({"x": "y" * MAX_MESSAGE_BYTES})
    with pytest.raises(ValueError, match="JSON"):
        frame({"x": float("nan")})
    data = frame({"x": 1})
    assert body_bytes(data[:4]) == len(data) - 4
    assert parse_body(data[4:]) == {"x": 1}
    with pytest.raises(InvalidFrame):
        body_bytes(b"\xff" * 4)
