"""The stages `validating` and `decoding` of a smelt, with real children and a fake Storage."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from smelt.processor.children.decoders import Decoders
from smelt.processor.errors import ChildKilled, DiskFull
from smelt.processor.metrics import Metrics
from smelt.processor.model_queue import ModelQueue
from smelt.processor.speed import SpeedEstimate
from smelt.processor.stages.decode import Decode
from smelt.processor.stages.pipeline import Pipeline
from smelt.processor.stages.validate import Validate
from smelt.processor.state import SmeltState
from smelt.processor.workspace import Workspace
from tests.harness.processes import assert_ended, started_by_workers
from tests.harness.waiting import until
from tests.unit.processor.audio_samples import RECORDINGS
from tests.unit.processor.children.poison import poisoned_decoders
from tests.unit.processor.fakes import claim, file_row

SHORT = RECORDINGS / "action_item.m4a"
SHORT_BYTES = SHORT.stat().st_size


async def acknowledge() -> None:
    """Do nothing: the stages are tested without a database."""


class FakeAudio:
    """A bucket that has one recording under all paths."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders = decoders
        self.ahead_count = 0

    async def download(self, _path: str, target: Path, *, on_bytes: Callable[[int], None]) -> None:
        self.ahead_count = len(self._decoders._ahead)
        shutil.copy(SHORT, target)
        on_bytes(SHORT_BYTES)

    async def version(self, _path: str) -> str:
        return "1"


class FullBeforeDecoding(Workspace):
    """A workspace with room for the file, and not for the recording made of it."""

    def require_space(self, byte_count: int = 0) -> None:
        if byte_count != SHORT_BYTES:
            raise DiskFull("x")


class StagesHarness:
    """The stages of a claim of several files."""

    def __init__(self, folder: Path, decoders: Decoders, file_count: int = 1) -> None:
        self.folder = folder
        self.shares: list[float] = []
        self.decoders = decoders
        rows = [file_row(filename="a.m4a", position=n, size_bytes=SHORT_BYTES) for n in range(file_count)]
        state = self.state = SmeltState(claim(*rows), self._on_change)
        self.audio = FakeAudio(decoders)
        self.services: Any = SimpleNamespace(
            project=SimpleNamespace(audio=self.audio),
            workspace=Workspace(folder),
            decoders=decoders,
            metrics=Metrics(),
            model_queue=ModelQueue(),
            speed=SpeedEstimate(),
        )
        # The reports of risks are tested with `Reporter`.
        reporter: Any = SimpleNamespace(state=state, at_risk=lambda _: nullcontext(), acknowledge=acknowledge)
        self.pipeline = Pipeline(reporter, self.services, folder)

    def _on_change(self, _urgent: bool) -> None:
        self.shares.append(self.state.files[0].share)

    async def validate(self, number: int) -> None:
        await Validate(self.pipeline._job).run(self.state.files[number])

    async def decode(self, number: int) -> None:
        await Decode(self.pipeline._job).run(self.state.files[number])


@asynccontextmanager
async def harness(folder: Path, decoders: Decoders, file_count: int = 1) -> AsyncIterator[StagesHarness]:
    made = StagesHarness(folder, decoders, file_count)
    try:
        yield made
    finally:
        for file in made.state.files:
            await file.release_child()
        await decoders.aclose()
        assert_ended(started_by_workers())


async def test_file_is_validated_then_decoded_with_growing_progress(tmp_path: Path) -> None:
    async with harness(tmp_path, Decoders(1)) as smelt:
        (file,) = smelt.state.files
        await smelt.validate(0)
        assert file.probed is not None
        assert file.share == 1.0
        assert file.recording is None
        smelt.state.enter("decoding")
        smelt.shares.clear()
        await smelt.decode(0)
        assert file.recording is not None
        assert file.duration_s == round(file.recording.duration_s, 3)
        assert smelt.shares == sorted(smelt.shares)
        assert file.share == 1.0
        assert file.source is not None
        assert not file.source.exists()


async def test_child_starts_before_the_download(tmp_path: Path) -> None:
    async with harness(tmp_path, Decoders(2)) as smelt:
        await smelt.validate(0)
        assert smelt.audio.ahead_count == 2


async def test_files_hold_no_child_until_all_are_validated(tmp_path: Path) -> None:
    async with harness(tmp_path, Decoders(1), file_count=3) as smelt:
        for number in range(3):
            await smelt.validate(number)
        for number in range(3):
            await smelt.decode(number)
        assert all(file.recording is not None for file in smelt.state.files)


async def test_child_of_a_single_file_is_kept_for_decoding(tmp_path: Path) -> None:
    async with harness(tmp_path, Decoders(1)) as smelt:
        await smelt.validate(0)
        assert smelt.decoders._slots.locked()
        await smelt.state.files[0].release_child()
        assert not smelt.decoders._slots.locked()


async def test_disk_that_fills_while_decoding_is_reported_as_full(tmp_path: Path) -> None:
    async with harness(tmp_path, poisoned_decoders("disk full", tmp_path / "counter")) as smelt:
        await smelt.validate(0)
        with pytest.raises(DiskFull):
            await smelt.decode(0)


async def test_child_that_is_kept_ends_if_decoding_does_not_start(tmp_path: Path) -> None:
    async with harness(tmp_path, Decoders(1)) as smelt:
        smelt.services.workspace = FullBeforeDecoding(tmp_path)
        with pytest.raises(DiskFull):
            await smelt.pipeline.run()
        assert smelt.state.stage == "decoding"
        assert not smelt.decoders._slots.locked()


@pytest.mark.parametrize("stage", ["probe", "decode"])
@pytest.mark.parametrize("file_count", [1, 2])
async def test_poison_fails_its_files_and_nothing_else(stage: str, file_count: int, tmp_path: Path) -> None:
    decoders = poisoned_decoders("SIGSEGV", tmp_path / "counter", stage=stage)
    async with harness(tmp_path, decoders, file_count) as smelt:
        assert await smelt.pipeline.run() == ()
        assert [file.error_code for file in smelt.state.files] == ["decoding_failed"] * file_count
        assert not decoders._slots.locked()


async def test_killed_child_ends_the_attempt_without_a_verdict_on_the_file(tmp_path: Path) -> None:
    decoders = poisoned_decoders("kill", tmp_path / "counter")
    async with harness(tmp_path, decoders) as smelt:
        with pytest.raises(ChildKilled):
            await smelt.pipeline.run()
        assert not smelt.state.files[0].failed


async def test_cancelled_stages_end_the_child_at_once(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    decoders = poisoned_decoders("hang", counter)
    async with harness(tmp_path, decoders) as smelt:
        running = asyncio.create_task(smelt.pipeline.run())
        await until(lambda: counter.stat().st_size)
        decoding = smelt.state.files[0].decoding
        assert decoding is not None
        assert decoding._child is not None
        process = psutil.Process(decoding._child.pid)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not process.is_running()
