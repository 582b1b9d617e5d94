"""Stage `transcribing`: from a recording on disk to saved segments, resuming at the last checkpoint."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from smelt.processor.children.process import ChildDied
from smelt.processor.errors import FileError, ModelError, ModelRestarted
from smelt.processor.logs import SmeltLog
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.services import WorkerServices
from smelt.processor.speech.checkpoint import START, Checkpoint
from smelt.processor.speech.languages import Language
from smelt.processor.speech.resume_filter import ResumeFilter
from smelt.processor.speech.trust import trust_report
from smelt.processor.speech.values import Passage
from smelt.processor.speed import TranscriptionTimer
from smelt.processor.stages.identify_speakers import IdentifySpeakers
from smelt.processor.stages.stage import Stage, total
from smelt.processor.state import FileWork, SmeltState, size_weight

logger = logging.getLogger(__name__)


class Transcribe(Stage):
    """Transcribes decoded files with the shared model, as many smelts at a time as it has lanes."""

    name = "transcribing"
    risk = "model"

    def weight(self, file: FileWork) -> float:
        """Return the duration of a file, of all its separate channels."""
        return (file.duration_s or size_weight(file)) * file.channel_count

    def remaining_s(self) -> float | None:
        """Return the seconds that the model still needs for all files; None while the speed is unknown."""
        return total(self._remaining_s(file) for file in self.files)

    def waiting_s(self) -> float | None:
        """Return the seconds that the model needs for the smelts in front; None while they are unknown."""
        if not self.files:
            return 0.0
        return self.job.services.model_queue.wait_s(self.remaining_s)

    @property
    def begins_at_once(self) -> bool:
        """True if a lane of the model is free, and it is ready."""
        return self._services.model_queue.is_free and self._services.model.is_ready

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the model, which is loaded before the first file is at risk."""
        services = self.job.services
        async with services.model_queue.lane(self.remaining_s), services.model.acquire():
            yield

    async def run(self, file: FileWork) -> None:
        """Transcribe a file from its last checkpoint; raise `FileError` if the model fails on it."""
        assert file.recording is not None
        end = await self._transcribe_with_retries(file, file.recording)
        file.has_text, file.transcribed = True, not self._state.options.speakers
        file.trust = (
            trust_report(file.segments, end.findings) | file.recording.report.trust() | self._services.model.info
        )
        if self._state.options.task == "translate":
            file.trust |= {"translated": True}
        self._state.mark_changed()

    @property
    def _state(self) -> SmeltState:
        return self.job.state

    @property
    def _services(self) -> WorkerServices:
        return self.job.services

    @property
    def _log(self) -> SmeltLog:
        return SmeltLog(logger, self._state.claim)

    def _remaining_s(self, file: FileWork) -> float | None:
        if file.timer is not None:
            return file.timer.remaining_s
        if file.duration_s is None:
            return None
        remaining_s = file.duration_s - _start_s(file.saved_checkpoint)
        return self._services.speed.transcription_s(audio_s=remaining_s * file.channel_count)

    async def _transcribe_with_retries(self, file: FileWork, recording: Recording) -> Checkpoint:
        start = await self._load_saved(file, file.saved_checkpoint)
        died = False
        while True:
            try:
                await self._transcribe_from(file, recording, start)
            except ModelError as exc:
                self._log.warning("the model failed (%s), retrying with less memory", exc)
            except ModelRestarted as exc:
                self._log.info("continuing file %s with a new model: %s", file.id, exc)
            except ChildDied as exc:
                if died:
                    raise FileError("transcription_failed", str(exc)) from exc
                died = True
                self._log.warning("retrying file %s with a new model: %s", file.id, exc)
            else:
                return file.checkpoint or start
            start = file.checkpoint or start

    async def _load_saved(self, file: FileWork, start: Checkpoint) -> Checkpoint:
        if start.segment_count or file.claimed.segment_count:
            file.segments = list(await self._services.calls.load_segments(self._state.claim.id, file.id))
        count = len(file.segments)
        if count >= start.segment_count and [segment.index for segment in file.segments] == list(range(count)):
            return start
        self._log.warning("the saved segments of file %s have gaps, starting over", file.id)
        file.segments = []
        return START

    async def _transcribe_from(self, file: FileWork, recording: Recording, start: Checkpoint) -> None:
        resume_filter = ResumeFilter(file.segments)
        items = self._services.model.transcribe(
            self._state.claim.id, recording, start, main_language=file.language, requested=self._state.options
        )
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Language):
                    if file.language is None:
                        file.language, file.language_probability = item.code, round(item.probability, 3)
                    audio_s, start_s = (
                        seconds * recording.width for seconds in (recording.duration_s, _start_s(start))
                    )
                    file.timer = TranscriptionTimer(self._services.speed, audio_s, start_s)
                else:
                    self._add_passage(file, recording, item, resume_filter)

    def _add_passage(self, file: FileWork, recording: Recording, passage: Passage, resume_filter: ResumeFilter) -> None:
        assert file.timer is not None
        file.timer.add_passage(passage)
        count = len(file.segments)
        new = [s.model_copy(update={"index": count + n}) for n, s in enumerate(resume_filter.unseen(passage.segments))]
        # If re-transcription splits the audio differently, the new transcript ends where the saved one ends.
        checkpoint = passage.checkpoint.limited_to(count + len(new))
        share = passage.position_s / recording.duration_s
        last_share = IdentifySpeakers.first_share if self._state.options.speakers else 1.0
        self._state.add_segments(file, tuple(new), checkpoint, share * last_share)


def _start_s(start: Checkpoint) -> float:
    return start.span_start / SAMPLE_RATE
