"""Transcribing: from a recording on disk to saved segments, from the last checkpoint on."""

import asyncio
import logging

from smelt.processor.errors import FileError
from smelt.processor.logs import SmeltLog
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.services import WorkerServices
from smelt.processor.speech.checkpoint import START, Checkpoint
from smelt.processor.speech.resume_filter import ResumeFilter
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.trust import trust_report
from smelt.processor.speed import TranscriptionTimer
from smelt.processor.state import FileWork, SmeltState
from smelt.processor.threads import iterate

logger = logging.getLogger(__name__)


class Transcription:
    """Transcribes the files of one smelt with the shared model."""

    def __init__(self, state: SmeltState, tools: WorkerServices) -> None:
        self._state = state
        self._tools = tools
        self._log = SmeltLog(logger, state.claim)

    def left_s(self, file: FileWork) -> float | None:
        """Seconds until the model has heard a file, once it is its turn; None while that can't be told."""
        if file.hearing is not None:
            return file.hearing.left_s
        if file.duration_s is None:
            return None
        return self._tools.pace.hearing_s(audio_s=file.duration_s - _start_s(file.start))

    async def recall_whole(self, file: FileWork) -> None:
        """Load the transcript of a file that an earlier attempt or run has heard to its end."""
        file.segments = list(await self._tools.calls.load_segments(self._state.claim.id, file.id))

    async def transcribe(self, file: FileWork) -> None:
        """Hear a file to its end, from its last checkpoint on; raise `FileError` when the model can't."""
        assert file.recording is not None
        async with self._tools.model.borrowed() as transcriber:
            end = await self._hear(file, file.recording, transcriber)
        file.transcribed = True
        file.trust = trust_report(file.segments, end) | self._tools.model.about
        self._state.touch()

    async def _hear(self, file: FileWork, recording: Recording, transcriber: Transcriber) -> Checkpoint:
        start = await self._recall(file, transcriber.resumable(file.start))
        while True:
            try:
                await self._listen(file, recording, transcriber, start)
            except (RuntimeError, MemoryError) as exc:  # CTranslate2, also for memory that it does not get.
                transcriber = await self._smaller(transcriber, exc)
                start = transcriber.resumable(file.checkpoint or start)
            else:
                return file.checkpoint or start

    async def _smaller(self, transcriber: Transcriber, exc: Exception) -> Transcriber:
        smaller = await self._tools.model.smaller(transcriber)
        if smaller is None:
            raise FileError("transcription_failed", str(exc)) from exc
        self._log.warning("the model failed (%s), going on with what takes less memory", exc)
        return smaller

    async def _recall(self, file: FileWork, start: Checkpoint) -> Checkpoint:
        if start.segment_count or file.claimed.segment_count:
            file.segments = list(await self._tools.calls.load_segments(self._state.claim.id, file.id))
        count = len(file.segments)
        if count >= start.segment_count and [segment.index for segment in file.segments] == list(range(count)):
            return start
        self._log.warning("file %s has gaps, it starts over", file.id)
        file.segments = []
        return START

    async def _listen(self, file: FileWork, recording: Recording, transcriber: Transcriber, start: Checkpoint) -> None:
        executor = self._tools.threads.model
        if file.language is None:
            loop = asyncio.get_running_loop()
            detected = await loop.run_in_executor(executor, transcriber.detect_language, recording)
            file.language, file.language_probability = detected.code, round(detected.probability, 3)
        file.hearing = TranscriptionTimer(self._tools.pace, recording.duration_s, _start_s(start))
        seam = ResumeFilter(file.segments)
        async for passage in iterate(transcriber.listen(recording, file.language, start), executor):
            file.hearing.take(passage)
            count = len(file.segments)
            new = [s.model_copy(update={"index": count + n}) for n, s in enumerate(seam.new(passage.segments))]
            # Where what is saved is in other pieces than what is heard again, the end of the one is that of the other.
            checkpoint = passage.checkpoint.limited_to(count + len(new))
            self._state.learn(file, tuple(new), checkpoint, passage.position_s / recording.duration_s)


def _start_s(start: Checkpoint) -> float:
    return start.span_start / SAMPLE_RATE
