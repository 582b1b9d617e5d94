"""Batched transcription, on machines with enough memory; windows are cut in pauses beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment

from smelt.processor.media.recording import SAMPLE_RATE, Samples
from smelt.processor.speech.raw_segment import RawSegment, raw_segment_from, word_from, words_of
from smelt.processor.speech.vad import Clip

# A clip ends 0.4 s after its last speech; if its text ends earlier than this before the end, text is missing.
_MISSING_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class BatchedModel:
    """A model that transcribes `batch_size` clips at a time."""

    model: WhisperModel
    language: str
    batch_size: int
    beam_size: int
    word_times: bool

    def transcribe(self, samples: Samples, clips: list[Clip], *, seek: int) -> Iterator[RawSegment]:
        """Transcribe a span from clip number `seek`; `RawSegment.seek` is the first clip of its batch."""
        for first in range(seek, len(clips), self.batch_size):
            batch = clips[first : first + self.batch_size]
            by_clip: dict[int, list[Segment]] = {self._seek_of(clip): [] for clip in batch}
            for segment in self._segments(samples, batch):
                by_clip[segment.seek].append(segment)
            for clip, segments in zip(batch, by_clip.values(), strict=True):
                segments_of_clip = [
                    self._raw_segment(segment, first, 0.0) for segment in segments if segment.text.strip()
                ]
                yield from segments_of_clip
                yield from self._missing_end(
                    samples, clip, first, segments_of_clip[-1].end if segments_of_clip else clip.start / SAMPLE_RATE
                )

    def _seek_of(self, clip: Clip) -> int:
        # As faster-whisper computes it, rounding included.
        start = int(clip.start / SAMPLE_RATE * SAMPLE_RATE)
        return int(start / SAMPLE_RATE * self.model.frames_per_second)

    def _segments(self, samples: Samples, batch: list[Clip]) -> Iterator[Segment]:
        segments, _ = BatchedInferencePipeline(self.model).transcribe(
            samples,
            clip_timestamps=[{"start": clip.start / SAMPLE_RATE, "end": clip.end / SAMPLE_RATE} for clip in batch],
            batch_size=self.batch_size,
            # The default omits timestamps, without which a window is a single segment.
            without_timestamps=False,
            **self._common_options,
        )
        yield from segments

    def _missing_end(self, samples: Samples, clip: Clip, seek: int, transcribed_to_s: float) -> Iterator[RawSegment]:
        # In batched mode, faster-whisper drops a sentence that does not end in its window.
        start = int(transcribed_to_s * SAMPLE_RATE)
        if (clip.end - start) / SAMPLE_RATE <= _MISSING_S:
            return
        segments, _ = self.model.transcribe(
            samples[start : clip.end], vad_filter=False, condition_on_previous_text=False, **self._common_options
        )
        for segment in segments:
            yield self._raw_segment(segment, seek, start / SAMPLE_RATE)

    @property
    def _common_options(self) -> dict[str, Any]:
        return {
            "language": self.language,
            "beam_size": self.beam_size,
            "word_timestamps": self.word_times,
            "temperature": 0.0,
        }

    def _raw_segment(self, segment: Segment, seek: int, offset_s: float) -> RawSegment:
        timed = words_of(segment, self.model) or []
        words = [word_from(word, word.start + offset_s, word.end + offset_s) for word in timed]
        return raw_segment_from(
            segment,
            seek=seek,
            start=(timed[0].start if timed else segment.start) + offset_s,
            end=segment.end + offset_s,
            words=words if self.word_times else None,
        )
