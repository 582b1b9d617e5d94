"""Files are probed and decoded in children: the same result as in one process, and no file harms the worker."""

import asyncio
import errno
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from smelt.processor.children import decoders as decoders_module
from smelt.processor.children.decoders import DecoderFailed, Decoders, Decoding
from smelt.processor.errors import ChildKilled, ChildUnusable, FileError
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import Recording
from smelt.processor.media.values import BYTES_PER_SECOND, SAMPLE_RATE, MediaLimits
from tests.harness.leaks import assert_no_leaks
from tests.harness.processes import assert_ended, started_by_workers
from tests.harness.waiting import until
from tests.unit.processor import bombs
from tests.unit.processor.audio_samples import LIMITS, RECORDINGS, STANDUP
from tests.unit.processor.children.poison import POISON_DURATION_S, ROOT, poisoned_decoders

FORMATS = sorted(path.name for path in RECORDINGS.glob("action_item*") if path.suffix != ".txt")
PACKAGE = "tests.unit.processor.children"
SHORT = RECORDINGS / "action_item.m4a"
SHORT_LIMITS = replace(LIMITS, max_duration_s=POISON_DURATION_S)
CRASHES = ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGXCPU", "SIGXFSZ"]
LINUX_COPIES = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each file has a new child")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit of the address space")

Poisoned = Callable[..., Decoders]


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """A file with a byte for each child that was given the file."""
    return tmp_path / "counter"


@pytest.fixture
def poisoned(counter: Path) -> Iterator[Poisoned]:
    """Return a function that makes decoders with a poison."""
    yield lambda poison, **options: poisoned_decoders(poison, counter, **options)
    assert_ended(started_by_workers())


@asynccontextmanager
async def closing(decoders: Decoders) -> AsyncIterator[Decoders]:
    try:
        yield decoders
    finally:
        await decoders.aclose()


async def read(decoding: Decoding, target: Path, on_share: Callable[[float], object] = lambda _: None) -> Recording:
    try:
        return await decoding.decode(target, await decoding.probe(), on_share)
    finally:
        await decoding.release()


async def error_of(work: Awaitable[object], expected: type[Exception]) -> Any:
    with pytest.raises(expected) as error:
        await work
    return error.value


def count(counter: Path) -> int:
    """Return how many children were given the file."""
    return counter.stat().st_size


def pid_of(decoding: Decoding) -> int:
    assert decoding._child is not None
    return decoding._child.pid


@pytest.mark.parametrize("name", FORMATS)
async def test_child_decodes_the_same_as_this_process(name: str, tmp_path: Path) -> None:
    source = RECORDINGS / name
    expected = decode_to_pcm(source, tmp_path / "expected", probe(source, LIMITS), LIMITS, lambda _: None)
    async with closing(Decoders()) as decoders:
        decoding = decoders.open(source, LIMITS)
        probed = await decoding.probe()
        recording = await decoding.decode(tmp_path / "pcm", probed, lambda _: None)
    assert probed == probe(source, LIMITS)
    assert recording.report == expected.report
    assert recording.sample_count == expected.sample_count
    assert (tmp_path / "pcm").read_bytes() == (tmp_path / "expected").read_bytes()


async def test_progress_of_a_child_grows_to_one(tmp_path: Path) -> None:
    shares: list[float] = []
    async with closing(Decoders()) as decoders:
        await read(decoders.open(STANDUP, LIMITS), tmp_path / "pcm", shares.append)
    assert shares == sorted(shares)
    assert 20 < len(set(shares)) <= 102
    assert shares[-1] > 0.98


@LINUX_COPIES
async def test_one_copy_of_a_child_probes_and_decodes_a_file_and_ends(poisoned: Poisoned, tmp_path: Path) -> None:
    async with assert_no_leaks(), closing(poisoned("none")) as decoders:
        copies: list[psutil.Process] = []
        seen: list[bool] = []
        for _ in range(2):
            decoding = decoders.open(SHORT, LIMITS)
            probed = await decoding.probe()
            child = psutil.Process(pid_of(decoding))
            assert child.num_threads() == 1
            [copy] = child.children()
            await decoding.decode(tmp_path / "pcm", probed, lambda _, copy=copy: seen.append(copy.is_running()))
            assert set(seen) == {True}
            assert (await decoders._ahead[0]).pid == child.pid
            assert_ended([copy])
            copies.append(copy)
        assert started_by_workers() == [child]
        assert len(set(copies)) == 2


async def test_child_that_has_probed_a_file_decodes_the_maximum_duration_of_each_channel(
    poisoned: Poisoned, counter: Path, tmp_path: Path
) -> None:
    source, channels = tmp_path / "call.wav", 2
    limits = replace(LIMITS, max_duration_s=10.0)
    samples = random.Random(0).randbytes(round(limits.max_duration_s * BYTES_PER_SECOND) * channels)
    source.write_bytes(bombs.wav(samples, SAMPLE_RATE, channels))
    pids: list[int] = []
    async with closing(poisoned("none")) as decoders:
        decoding = decoders.open(source, limits)
        probed = await decoding.probe()
        probing_pid = pid_of(decoding)
        recording = await decoding.decode(
            tmp_path / "pcm", probed, lambda _: pids.append(pid_of(decoding)), is_separate=True
        )
    assert (recording.channels, recording.duration_s) == ((1, 2), limits.max_duration_s)
    assert set(pids) == {probing_pid}
    assert count(counter) == 1


async def test_file_that_is_rejected_keeps_its_child(poisoned: Poisoned, tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    async with closing(poisoned("none")) as decoders:
        decoding = decoders.open(tmp_path / "empty.mp3", LIMITS)
        await error_of(decoding.probe(), FileError)
        [child] = started_by_workers()
        await decoders._ahead[0]
        assert child.is_running() == (sys.platform == "linux")


async def test_child_that_does_not_finish_its_file_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoders_module, "_DONE_TIMEOUT_S", 0.1)
    async with assert_no_leaks(), closing(Decoders(1)) as decoders:
        decoding = decoders.open(SHORT, LIMITS)
        probed = await decoding.probe()
        child = psutil.Process(pid_of(decoding))
        for process in child.children():
            process.suspend()
        await decoding.release()
        assert (await decoding.decode(tmp_path / "pcm", probed, lambda _: None)).duration_s > 1
        assert not child.is_running()


@LINUX_COPIES
async def test_child_on_a_system_without_copies_processes_one_file(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "SYSTEM": "darwin"}
    async with (
        assert_no_leaks(),
        closing(Decoders(1, module=f"{PACKAGE}.decoder_of_another_system", environment=environment)) as decoders,
    ):
        for _ in range(2):
            decoding = decoders.open(SHORT, LIMITS)
            probed = await decoding.probe()
            child = psutil.Process(pid_of(decoding))
            assert child.children() == []
            assert (await decoding.decode(tmp_path / "pcm", probed, lambda _: None)).duration_s > 1
            await decoders._ahead[0]
            assert not child.is_running()


async def test_released_file_is_decoded_by_another_child(tmp_path: Path) -> None:
    async with closing(Decoders(1)) as decoders:
        first, second = decoders.open(SHORT, LIMITS), decoders.open(STANDUP, LIMITS)
        for decoding in (first, second):
            await decoding.probe()
            await decoding.release()
        assert (await read(first, tmp_path / "a")).duration_s < (await read(second, tmp_path / "b")).duration_s


@pytest.mark.parametrize(
    ("name", "content", "limits", "code"),
    [
        ("empty.mp3", b"", LIMITS, "corrupted_file"),
        ("notes.mp3", b"Notes of a meeting.\n" * 20, LIMITS, "invalid_format"),
        ("long.ogg", STANDUP.read_bytes(), replace(LIMITS, max_duration_s=10.0), "duration_exceeded"),
        ("large.ogg", STANDUP.read_bytes(), replace(LIMITS, max_file_bytes=10), "file_too_large"),
    ],
)
async def test_rejected_file_ends_its_child_and_keeps_its_code(
    name: str, content: bytes, limits: MediaLimits, code: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    async with assert_no_leaks(), closing(Decoders(1)) as decoders:
        error = await error_of(read(decoders.open(tmp_path / name, limits), tmp_path / "pcm"), FileError)
        assert error.code == code
        assert (await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")).duration_s > 1


@pytest.mark.parametrize("stage", ["probe", "decode"])
@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        *((name, f"died of {name}") for name in CRASHES),
        ("exit", "exited with 7"),
        pytest.param("allocate", r"more than 8\d MiB of memory", marks=LINUX),
        ("garbage", r"was killed \(protocol\)"),
        ("unknown response", r"was killed \(protocol\)"),
        ("other response", r"was killed \(protocol\)"),
        ("infinite share", r"was killed \(protocol\)"),
        ("infinite time", r"was killed \(protocol\)"),
    ],
)
async def test_poison_is_tried_twice_then_fails_its_file(
    poison: str, reason: str, stage: str, poisoned: Poisoned, counter: Path, tmp_path: Path
) -> None:
    async with assert_no_leaks(), closing(poisoned(poison, stage=stage)) as decoders:
        with pytest.raises(FileError, match=reason) as error:
            await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")
    assert error.value.code == "decoding_failed"
    assert count(counter) == 2


@pytest.mark.parametrize(
    ("poison", "reason"), [("output", "more output than"), ("samples", r"was killed \(protocol\).*1000000 samples")]
)
async def test_output_that_is_too_large_or_missing_fails_its_file(
    poison: str, reason: str, poisoned: Poisoned, counter: Path, tmp_path: Path
) -> None:
    async with closing(poisoned(poison)) as decoders:
        with pytest.raises(FileError, match=reason):
            await read(decoders.open(SHORT, SHORT_LIMITS), tmp_path / "pcm")
    assert count(counter) == 2


@pytest.mark.parametrize("stage", ["probe", "decode"])
async def test_file_that_uses_up_its_processor_time_fails(stage: str, poisoned: Poisoned, tmp_path: Path) -> None:
    async with closing(poisoned("spin", stage=stage)) as decoders:
        with pytest.raises(FileError, match="died of SIGXCPU") as error:
            await read(decoders.open(SHORT, SHORT_LIMITS), tmp_path / "pcm")
    assert error.value.code == "decoding_failed"


@pytest.mark.parametrize("stage", ["probe", "decode"])
async def test_file_that_hangs_fails(stage: str, poisoned: Poisoned, tmp_path: Path) -> None:
    async with closing(poisoned("hang", stage=stage, progress_timeout_s=0.5)) as decoders:
        with pytest.raises(FileError, match=r"was killed \(timeout\) while working: no message for 0.5 s") as error:
            await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")
    assert error.value.code == "decoding_failed"


@pytest.mark.parametrize("stage", ["probe", "decode"])
@pytest.mark.parametrize("poison", ["SIGSEGV", "garbage"])
async def test_file_decodes_after_one_crash(
    poison: str, stage: str, poisoned: Poisoned, counter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with assert_no_leaks(), closing(poisoned(poison, stage=stage, times=1)) as decoders:
        recording = await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")
    assert recording.duration_s > 1
    assert (tmp_path / "pcm").stat().st_size == 2 * recording.sample_count
    assert count(counter) == 2
    assert "trying once more" in caplog.text


@pytest.mark.parametrize("stage", ["probe", "decode"])
@pytest.mark.parametrize("poison", ["kill", "SIGTERM"])
async def test_child_killed_by_others_decides_nothing(
    poison: str, stage: str, poisoned: Poisoned, counter: Path, tmp_path: Path
) -> None:
    async with assert_no_leaks(), closing(poisoned(poison, stage=stage)) as decoders:
        with pytest.raises(ChildKilled, match="died of SIG"):
            await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")
    assert count(counter) == 1


async def test_decoder_opens_no_other_file(poisoned: Poisoned, tmp_path: Path) -> None:
    async with closing(poisoned("open")) as decoders:
        error = await error_of(read(decoders.open(SHORT, LIMITS), tmp_path / "pcm"), OSError)
    assert error.errno == errno.EMFILE


async def test_full_disk_of_a_child_is_a_full_disk(poisoned: Poisoned, tmp_path: Path) -> None:
    async with closing(poisoned("disk full")) as decoders:
        error = await error_of(read(decoders.open(SHORT, LIMITS), tmp_path / "pcm"), OSError)
    assert (error.errno, error.strerror) == (errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_unexpected_error_of_a_child_is_logged_with_its_traceback(
    poisoned: Poisoned, counter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with assert_no_leaks(), closing(poisoned("bug")) as decoders:
        with pytest.raises(DecoderFailed, match="ZeroDivisionError"):
            await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")
    assert count(counter) == 1
    assert "in raise_error" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("stage", ["probe", "decode"])
async def test_cancelled_decoding_ends_its_child_at_once(
    stage: str, poisoned: Poisoned, counter: Path, tmp_path: Path
) -> None:
    async with assert_no_leaks(), closing(poisoned("hang", stage=stage, times=1)) as decoders:
        decoding = decoders.open(SHORT, LIMITS)
        working = asyncio.create_task(read(decoding, tmp_path / "pcm"))
        await until(lambda: count(counter))
        process = psutil.Process(pid_of(decoding))
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert not process.is_running()
        assert (await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")).duration_s > 1


async def test_file_waits_for_a_free_decoder_and_may_stop_waiting(poisoned: Poisoned, tmp_path: Path) -> None:
    async with assert_no_leaks(), closing(poisoned("none")) as decoders:
        first = decoders.open(SHORT, LIMITS)
        probed = await first.probe()
        waiting = [asyncio.create_task(read(decoders.open(SHORT, LIMITS), tmp_path / str(n))) for n in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await first.decode(tmp_path / "pcm", probed, lambda _: None)
        assert (await waiting[1]).duration_s > 1
        assert waiting[0].cancelled()


async def test_children_are_started_ahead_and_end_with_the_decoders(tmp_path: Path) -> None:
    async with assert_no_leaks():
        decoders = Decoders(2)
        before = set(started_by_workers())
        decoders.prestart()
        decoders.prestart()
        ahead = await asyncio.gather(*decoders._ahead)
        assert len(ahead) == len(set(started_by_workers()) - before) == 2
        decoding = decoders.open(SHORT, LIMITS)
        await decoding.probe()
        assert pid_of(decoding) == ahead[0].pid
        assert len(decoders._ahead) == 1
        await decoding.release()
        assert len(decoders._ahead) == 2
        children = started_by_workers()
        await decoders.aclose()
        assert_ended(children)
        decoders.prestart()
        assert not decoders._ahead


async def test_wait_for_a_child_that_starts_can_be_cancelled(tmp_path: Path) -> None:
    async with assert_no_leaks(), closing(Decoders(1)) as decoders:
        decoders.prestart()
        (starting,) = decoders._ahead
        probing = asyncio.create_task(decoders.open(SHORT, LIMITS).probe())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        assert list(decoders._ahead) == [starting]
        assert (await read(decoders.open(SHORT, LIMITS), tmp_path / "pcm")).duration_s > 1


async def test_child_that_dies_without_a_file_is_replaced(tmp_path: Path) -> None:
    async with assert_no_leaks(), closing(Decoders(1)) as decoders:
        decoders.prestart()
        idle = await decoders._ahead[0]
        os.kill(idle.pid, signal.SIGKILL)
        await idle.dying
        decoding = decoders.open(SHORT, LIMITS)
        probed = await decoding.probe()
        # Without its death being noticed yet, between probing and decoding.
        os.kill(pid_of(decoding), signal.SIGKILL)
        assert decoding._child is not None
        await decoding._child.dying
        assert (await decoding.decode(tmp_path / "pcm", probed, lambda _: None)).duration_s > 1


async def test_machine_without_usable_children_is_at_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    environment = {"PYTHONPATH": str(ROOT), "START": "raise"}
    async with (
        assert_no_leaks(),
        closing(Decoders(1, module=f"{PACKAGE}.misbehaving_child", environment=environment)) as decoders,
    ):
        for _ in range(2):
            with pytest.raises(ChildUnusable, match="no decoder can be started: the child exited with 1"):
                await decoders.open(SHORT, LIMITS).probe()
        decoders.prestart()
        with pytest.raises(ChildUnusable):
            await decoders.open(SHORT, LIMITS).probe()
    assert "a decoder did not start" in caplog.text


async def test_machine_without_the_program_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(ChildUnusable):
        await Decoders().open(SHORT, LIMITS).probe()


def test_worker_decodes_without_native_libraries() -> None:
    code = "import sys, smelt.processor.children.decoders; print({'av', 'numpy', 'faster_whisper'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@LINUX
@pytest.mark.parametrize(
    ("build", "codes"),
    [
        # libav takes a failed allocation for damage, Python raises MemoryError: it depends on which one comes first.
        (lambda: bombs.flac_packet_matroska(4000), {"decoding_failed", "corrupted_file"}),
        (lambda: bombs.flac_packet_matroska(1000), {"decoding_failed", "corrupted_file"}),
        (bombs.vorbis_matroska, {"corrupted_file"}),
        (bombs.vorbis_ogg, {"corrupted_file"}),
    ],
    ids=["4000 frames in a packet", "1000 frames", "large codebooks", "large codebooks in Ogg"],
)
async def test_memory_is_limited_where_no_check_of_the_file_limits_it(
    build: Callable[[], bytes], codes: set[str], tmp_path: Path
) -> None:
    source, peaks = tmp_path / "recording", tmp_path / "peaks"
    source.write_bytes(build())
    peaks.touch()
    environment = {"PYTHONPATH": str(ROOT), "PEAKS": str(peaks)}
    async with closing(Decoders(1, module=f"{PACKAGE}.measured_decoder", environment=environment)) as decoders:
        error = await error_of(read(decoders.open(source, LIMITS), tmp_path / "pcm"), FileError)
    assert error.code in codes
    assert 50 * 1024**2 < max(map(int, peaks.read_text().split())) < 150 * 1024**2


@LINUX
@pytest.mark.parametrize(("rate", "packet_count"), [(384_000, 1), (384_000, 2), (48_000, 1)])
async def test_longest_packets_of_real_muxers_decode_in_a_child(rate: int, packet_count: int, tmp_path: Path) -> None:
    packet = bytes(10 * rate * 2 * 4)
    source = tmp_path / "recording.mka"
    source.write_bytes(bombs.matroska([packet] * packet_count, rate, channels=2, bits=32))
    async with closing(Decoders(1)) as decoders:
        recording = await read(decoders.open(source, LIMITS), tmp_path / "pcm")
    assert recording.duration_s == pytest.approx(10 * packet_count, abs=0.01)
