"""Runs the stages of one smelt, in order."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from smelt.contract.events import Result
from smelt.contract.options import SmeltOptions
from smelt.processor.dispatcher import Dispatcher, ReadyToDispatch
from smelt.processor.errors import FileError, ModelMissing
from smelt.processor.logs import SmeltLog
from smelt.processor.reporter import Reporter
from smelt.processor.services import WorkerServices
from smelt.processor.stages.decode import Decode
from smelt.processor.stages.identify_speakers import IdentifySpeakers
from smelt.processor.stages.stage import Job, Stage, total
from smelt.processor.stages.synthesize import Synthesize, combined
from smelt.processor.stages.transcribe import Transcribe
from smelt.processor.stages.validate import Validate
from smelt.processor.state import FileWork

logger = logging.getLogger(__name__)

STAGES: Final[tuple[type[Stage], ...]] = (Validate, Decode, Transcribe, IdentifySpeakers, Synthesize)

_NO_SPEAKERS: Final = (
    "The speakers can't be identified: no speaker model is set up here. Request a transcript without speakers, or "
    "separate channels."
)


class Pipeline:
    """Runs all stages of one smelt; a file that fails is skipped, the others continue."""

    def __init__(self, reporter: Reporter, services: WorkerServices, folder: Path) -> None:
        self._job = Job(reporter, services, folder)
        self._stages = [stage(self._job) for stage in STAGES]
        self._entered: Stage | None = None

    @property
    def info(self) -> dict[str, Any]:
        """The current stage, and the percentage of all work."""
        return {"stage": self._job.state.stage, "percentage": self._job.state.percentage}

    @property
    def needs_model(self) -> bool:
        """True if files are not transcribed yet."""
        return bool(self._job.untranscribed)

    async def run(self) -> tuple[Result, ...]:
        """Run all stages and return the results; raises what the synthesizer raises.

        Returns no result if every file failed; completing such a smelt fails it with the code of its first file. Raises
        `ModelMissing` if the smelt requests another model than that of this worker, and `ReadyToDispatch` once an
        external service can transcribe its recordings.
        """
        self._enter(self._stages[0])
        self._check_options()
        try:
            for index, stage in enumerate(self._stages):
                if not stage.files:
                    continue
                if isinstance(stage, Transcribe) and (dispatcher := self._job.services.dispatcher) is not None:
                    await self._prepare_dispatch(stage, dispatcher)
                await self._run_stage(stage, self._stages[index + 1 :])
        finally:
            for file in self._job.state.files:
                await file.release_child()
        return combined(self._job.state)

    def eta_s(self) -> float | None:
        """Return the seconds until this smelt is done; None while they are unknown."""
        return total(part_s for stage in self._stages for part_s in (stage.waiting_s(), stage.remaining_s()))

    def _check_options(self) -> None:
        """Fail the files whose options this worker can't honor, before any work on them."""
        state = self._job.state
        if state.options_issue is not None:
            self._fail(state.live_files, state.options_issue)
        elif self._job.untranscribed and state.options != SmeltOptions():
            services = self._job.services
            requested, engine = state.options.model, services.engine
            if requested is not None and requested not in engine.names:
                raise ModelMissing(f"the model {requested} is requested, this worker has {', '.join(engine.names)}")
            if (issue := engine.issue_of(state.options)) is not None:
                self._fail(self._job.untranscribed, issue)
            elif state.options.speakers and services.speakers is None and services.dispatcher is None:
                self._fail(self._job.untranscribed, _NO_SPEAKERS)

    def _fail(self, files: Sequence[FileWork], sentence: str) -> None:
        SmeltLog(logger, self._job.state.claim).info("its options: %s", sentence)
        for file in files:
            self._job.state.fail(file, "transcription_failed", sentence)

    async def _run_stage(self, stage: Stage, following: Sequence[Stage]) -> None:
        services = self._job.services
        async with stage.turn():
            self._enter(stage)
            with services.metrics.stage(stage.name):
                for file in stage.files:
                    await self._run_file(stage, file)
            if stage.risk is not None:
                await self._end_risk(next((one for one in following if one.files), None))

    async def _prepare_dispatch(self, stage: Transcribe, dispatcher: Dispatcher) -> NoReturn:
        for file in stage.files:
            assert file.recording is not None
            file.trust = file.recording.report.trust() or None
        self._enter(stage)
        services = self._job.services
        raise ReadyToDispatch(await dispatcher.job(self._job.state, services.project.audio, services.calls))

    async def _end_risk(self, following: Stage | None) -> None:
        """Save that the risk has ended before the next smelt begins: if that one stops this worker, this one did not.

        If the following stage begins at once, one report contains its beginning as well.
        """
        if following is not None and following.begins_at_once:
            if following.risk is not None:
                return
            self._enter(following)
        await self._job.reporter.acknowledge()

    def _enter(self, stage: Stage) -> None:
        if self._entered is not stage:
            self._entered = stage
            self._job.state.enter(stage.name, stage.weight, stage.first_share)

    async def _run_file(self, stage: Stage, file: FileWork) -> None:
        try:
            if stage.risk is None:
                await stage.run(file)
            else:
                async with self._job.reporter.at_risk(stage.risk):
                    await stage.run(file)
        except FileError as error:
            SmeltLog(logger, self._job.state.claim).info("file %s failed: %s", file.id, error)
            await file.release_child()
            self._job.state.fail(file, error.code, error.sentence)
