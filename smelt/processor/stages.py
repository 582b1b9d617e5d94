"""One smelt on its way through the stages."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from smelt.contract.events import Result
from smelt.processor.errors import FileError
from smelt.processor.logs import SmeltLog
from smelt.processor.preparing import decode_file, validate
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState
from smelt.processor.synthesize import output_count, synthesize
from smelt.processor.transcribe import Transcription

logger = logging.getLogger(__name__)

FileStep = Callable[[FileWork], Awaitable[None]]


class Stages:
    """Takes one smelt through its stages; a file that can't go on is given up, the others go on."""

    def __init__(self, state: SmeltState, tools: WorkerServices, folder: Path) -> None:
        self._state = state
        self._tools = tools
        self._folder = folder
        self._listener = Transcription(state, tools)

    @property
    def about(self) -> dict[str, Any]:
        """The stage, and the percentage of all the work."""
        return {"stage": self._state.stage, "percentage": self._state.percentage}

    async def run(self) -> tuple[Result, ...]:
        """Go through all stages; raises what the synthesizer raises.

        Without a file that is left there is no result, and completing fails the smelt with the code of its first file.
        """
        state = self._state
        state.enter("validating")
        await self._each(self._listener.recall_whole, [file for file in state.live_files if file.transcribed])
        await self._hear()
        if not state.live_files:
            return ()
        state.enter("synthesizing")
        async with self._tools.outputs:
            with self._tools.metrics.stage("synthesizing"):
                return await synthesize(state, self._tools)

    async def _hear(self) -> None:
        state, tools, folder = self._state, self._tools, self._folder
        with tools.metrics.stage("validating"):
            await self._each(lambda file: validate(file, state, tools, folder), self._unheard())
        if self._unheard():
            state.enter("decoding")
            with tools.metrics.stage("decoding"):
                await self._each(lambda file: decode_file(file, state, tools, folder), self._unheard())
        if self._unheard():
            async with tools.turns.turn(self._hearing_s):
                state.enter("transcribing")
                with tools.metrics.stage("transcribing"):
                    await self._each(self._listener.transcribe, self._unheard())

    def eta_s(self) -> float | None:
        """Seconds until this smelt is done; None as long as that can't be told."""
        in_front = self._tools.turns.ahead_of(self._hearing_s) if self._unheard() else ()
        hearing_s = _total([*(left_s() for left_s in in_front), self._hearing_s()])
        if hearing_s is None:
            return None
        output_s = self._tools.pace.output_s
        return hearing_s + self._outputs_left * (self._tools.synthesizer.typical_s if output_s is None else output_s)

    def _hearing_s(self) -> float | None:
        return _total([self._listener.left_s(file) for file in self._unheard()])

    @property
    def _outputs_left(self) -> float:
        files, writing = self._state.live_files, self._state.stage == "synthesizing"
        return output_count(self._state.claim) * sum(1 - file.share if writing else 1 for file in files)

    async def _each(self, step: FileStep, files: list[FileWork]) -> None:
        for file in files:
            try:
                await step(file)
            except FileError as fault:
                SmeltLog(logger, self._state.claim).info("file %s is given up: %s", file.id, fault)
                self._state.fail(file, fault.code)

    def _unheard(self) -> list[FileWork]:
        return [f for f in self._state.live_files if f.claimed.input_type == "audio" and not f.transcribed]


def _total(seconds: Iterable[float | None]) -> float | None:
    total_s = 0.0
    for part_s in seconds:
        if part_s is None:
            return None
        total_s += part_s
    return total_s
