"""The stages of one smelt, in order."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from smelt.contract.events import Result
from smelt.contract.work import Risk
from smelt.processor.decode import decode
from smelt.processor.errors import FileError
from smelt.processor.logs import SmeltLog
from smelt.processor.reporter import Reporter
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork
from smelt.processor.synthesize import output_count, synthesize
from smelt.processor.transcribe import Transcription
from smelt.processor.validate import validate

logger = logging.getLogger(__name__)

FileStep = Callable[[FileWork], Awaitable[None]]


class Stages:
    """Runs all stages of one smelt; a file that fails is skipped, the others continue."""

    def __init__(self, reporter: Reporter, services: WorkerServices, folder: Path) -> None:
        self._reporter = reporter
        self._state = reporter.state
        self._services = services
        self._folder = folder
        self._transcription = Transcription(reporter.state, services)

    @property
    def info(self) -> dict[str, Any]:
        """The current stage, and the percentage of all work."""
        return {"stage": self._state.stage, "percentage": self._state.percentage}

    @property
    def needs_model(self) -> bool:
        """True if files are not transcribed yet."""
        return bool(self._untranscribed())

    async def run(self) -> tuple[Result, ...]:
        """Run all stages and return the results; raises what the synthesizer raises.

        Returns no result if every file failed; completing such a smelt fails it with the code of its first file.
        """
        state = self._state
        state.enter("validating")
        await self._for_each(
            self._transcription.load_transcript, [file for file in state.live_files if file.transcribed]
        )
        await self._process_audio()
        if not state.live_files:
            return ()
        if state.stage != "synthesizing":
            state.enter("synthesizing")
        async with self._services.synthesis_slots:
            with self._services.metrics.stage("synthesizing"):
                return await synthesize(state, self._services)

    async def _process_audio(self) -> None:
        state, services = self._state, self._services
        try:
            await self._decode_audio()
        finally:
            for file in state.files:
                await file.release_child()
        if self._untranscribed():
            # The model is loaded before the first file is at risk.
            async with services.model_queue.slot(self._remaining_s), services.model.acquire():
                state.enter("transcribing")
                with services.metrics.stage("transcribing"):
                    await self._for_each_at_risk("model", self._transcription.transcribe, self._untranscribed())
                if state.live_files:
                    state.enter("synthesizing")
                # Saved before the next smelt begins: if that one stops this worker, this one is not the cause.
                await self._reporter.acknowledge()

    async def _decode_audio(self) -> None:
        state, services, folder = self._state, self._services, self._folder
        files = self._untranscribed()
        with services.metrics.stage("validating"):
            # Several files would hold a child each until all are validated.
            keep_child = len(files) == 1
            await self._for_each(
                lambda file: validate(
                    file,
                    state,
                    services,
                    folder,
                    at_risk=lambda: self._reporter.at_risk("decode"),
                    keep_child=keep_child,
                ),
                files,
            )
        if self._untranscribed():
            state.enter("decoding")
            with services.metrics.stage("decoding"):
                await self._for_each_at_risk(
                    "decode", lambda file: decode(file, state, services, folder), self._untranscribed()
                )
            # It is not at risk while it waits for the model.
            await self._reporter.acknowledge()

    def eta_s(self) -> float | None:
        """Return the seconds until this smelt is done; None while they are unknown."""
        ahead = self._services.model_queue.ahead_of(self._remaining_s) if self._untranscribed() else ()
        total_s = _total([*(remaining_s() for remaining_s in ahead), self._remaining_s()])
        if total_s is None:
            return None
        output_s = self._services.speed.output_s
        return total_s + self._remaining_outputs * (
            self._services.synthesizer.typical_s if output_s is None else output_s
        )

    def _remaining_s(self) -> float | None:
        return _total([self._transcription.remaining_s(file) for file in self._untranscribed()])

    @property
    def _remaining_outputs(self) -> float:
        files, is_synthesizing = self._state.live_files, self._state.stage == "synthesizing"
        return output_count(self._state.claim) * sum(1 - file.share if is_synthesizing else 1 for file in files)

    async def _for_each(self, step: FileStep, files: list[FileWork]) -> None:
        for file in files:
            try:
                await step(file)
            except FileError as error:
                SmeltLog(logger, self._state.claim).info("file %s failed: %s", file.id, error)
                self._state.fail(file, error.code)

    async def _for_each_at_risk(self, risk: Risk, step: FileStep, files: list[FileWork]) -> None:
        async def step_at_risk(file: FileWork) -> None:
            async with self._reporter.at_risk(risk):
                await step(file)

        await self._for_each(step_at_risk, files)

    def _untranscribed(self) -> list[FileWork]:
        return [f for f in self._state.live_files if f.claimed.input_type == "audio" and not f.transcribed]


def _total(seconds: Iterable[float | None]) -> float | None:
    total_s = 0.0
    for part_s in seconds:
        if part_s is None:
            return None
        total_s += part_s
    return total_s
