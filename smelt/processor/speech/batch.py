"""Many windows of the model at once, for machines with room for it; windows are cut in pauses beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment

from smelt.processor.media.recording import SAMPLE_RATE, Samples
from smelt.processor.speech.raw_segment import RawSegment, heard_from, word_from, words_of
from smelt.processor.speech.vad import Clip

# A clip ends 0.4 s after its last speech; where the text ends earlier than this, some of it is missing.
_MISSING_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class BatchedModel:
    """A model that hears `batch_size` clips at a time."""

    model: WhisperModel
    language: str
    batch_size: int
    beam_size: int
    word_times: bool

    def listen(self, samples: Samples, clips: list[Clip], *, seek: int) -> Iterator[RawSegment]:
        """Transcribe a span from its clip number `seek` on; `RawSegment.seek` is the clip that its batch begins with."""
        for first in range(seek, len(clips), self.batch_size):
            batch = clips[first : first + self.batch_size]
            by_clip: dict[int, list[Segment]] = {self._seek_of(clip): [] for clip in batch}
            for segment in self._segments(samples, batch):
                by_clip[segment.seek].append(segment)
            for clip, segments in zip(batch, by_clip.values(), strict=True):
                heard = [self._heard(segment, first, 0.0) for segment in segments if segment.text.strip()]
                yield from heard
                yield from self._rest(samples, clip, first, heard[-1].end if heard else clip.start / SAMPLE_RATE)

    def _seek_of(self, clip: Clip) -> int:
        # As faster-whisper computes it, rounding included.
        start = int(clip.start / SAMPLE_RATE * SAMPLE_RATE)
        return int(start / SAMPLE_RATE * self.model.frames_per_second)

    def _segments(self, samples: Samples, batch: list[Clip]) -> Iterator[Segment]:
        segments, _ = BatchedInferencePipeline(self.model).transcribe(
            samples,
            clip_timestamps=[{"start": clip.start / SAMPLE_RATE, "end": clip.end / SAMPLE_RATE} for clip in batch],
            batch_size=self.batch_size,
            # The default leaves out what tells the sentences of a window apart.
            without_timestamps=False,
            **self._shared,
        )
        yield from segments

    def _rest(self, samples: Samples, clip: Clip, seek: int, heard_to_s: float) -> Iterator[RawSegment]:
        # A sentence that the model began and did not end within its window is left out by faster-whisper, which in
        # its batched mode does not come back to it.
        start = int(heard_to_s * SAMPLE_RATE)
        if (clip.end - start) / SAMPLE_RATE <= _MISSING_S:
            return
        segments, _ = self.model.transcribe(
            samples[start : clip.end], vad_filter=False, condition_on_previous_text=False, **self._shared
        )
        for segment in segments:
            yield self._heard(segment, seek, start / SAMPLE_RATE)

    @property
    def _shared(self) -> dict[str, Any]:
        return {
            "language": self.language,
            "beam_size": self.beam_size,
            "word_timestamps": self.word_times,
            "temperature": 0.0,
        }

    def _heard(self, segment: Segment, seek: int, offset_s: float) -> RawSegment:
        found = words_of(segment, self.model) or []
        words = [word_from(word, word.start + offset_s, word.end + offset_s) for word in found]
        return heard_from(
            segment,
            seek=seek,
            start=(found[0].start if found else segment.start) + offset_s,
            end=segment.end + offset_s,
            words=words if self.word_times else None,
        )
