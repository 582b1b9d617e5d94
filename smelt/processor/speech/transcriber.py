"""Transcribes a recording span by span and window by window."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from faster_whisper import WhisperModel

from smelt.contract.state import Word
from smelt.contract.work import SavedSegment
from smelt.processor.media.recording import SAMPLE_RATE, Recording, Samples
from smelt.processor.speech import sequential
from smelt.processor.speech.batch import BatchedModel
from smelt.processor.speech.checkpoint import START, Checkpoint
from smelt.processor.speech.raw_segment import RawSegment
from smelt.processor.speech.spans import Span, span_from
from smelt.processor.speech.vad import Clip, SpeechAudio, speech_s, window_clips

_LANGUAGE_WINDOWS = 4


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """Options of transcription; `batch_size` 0 transcribes sequentially."""

    batch_size: int = 0
    beam_size: int = 5
    vad: bool = True
    word_times: bool = False
    max_span_s: float = 120.0

    @property
    def with_smaller_batch(self) -> "SpeechOptions | None":
        """These options with half the batch size, down to sequential; None if they are sequential."""
        return replace(self, batch_size=self.batch_size // 2) if self.batch_size else None


@dataclass(frozen=True)
class Passage:
    """The segments up to `position_s` of the recording, and the checkpoint to resume from after them.

    The first passage of a span precedes its transcription: `prepared_s` is the length of the span. `remaining_speech_s`
    is the speech of the span that is not transcribed yet.
    """

    segments: tuple[SavedSegment, ...]
    position_s: float
    checkpoint: Checkpoint
    prepared_s: float = 0.0
    remaining_speech_s: float = 0.0


@dataclass(frozen=True)
class Language:
    """The language of a whole recording."""

    code: str
    probability: float


class Transcriber:
    """Transcribes recordings with one model; its methods block and are thread-safe."""

    def __init__(self, model: WhisperModel, options: SpeechOptions) -> None:
        self.model = model
        self.options = options

    def detect_language(self, recording: Recording) -> Language:
        """Detect the language of the first speech of the recording."""
        if not self.model.model.is_multilingual:
            return Language("en", 1.0)
        start = 0
        while start < recording.sample_count:
            span = span_from(recording, start, self.options.max_span_s)
            speech = SpeechAudio(recording.read(span.start, span.end), vad=self.options.vad)
            if len(speech.samples):
                return self._language_of(speech.samples)
            start = span.end
        return Language("en", 0.0)

    def transcribe(self, recording: Recording, language: str, start: Checkpoint = START) -> Iterator[Passage]:
        """Transcribe the recording from a checkpoint; the same checkpoint always gives the same text."""
        checkpoint = self.resume_point(start)
        while checkpoint.span_start < recording.sample_count:
            span = span_from(recording, checkpoint.span_start, self.options.max_span_s)
            checkpoint = yield from self._transcribe_span(recording, span, language, checkpoint)

    def resume_point(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return where this transcriber resumes from a checkpoint, which may be of another mode."""
        return checkpoint.for_mode(self._mode_key)

    def with_options(self, options: SpeechOptions) -> "Transcriber":
        """Return a transcriber with the same model and other options."""
        return Transcriber(self.model, options)

    @property
    def _mode_key(self) -> str:
        options = self.options
        window_s = self.model.feature_extractor.chunk_length
        mode = "batched" if options.batch_size else "sequential"
        return f"{mode} vad={options.vad:d} words={options.word_times:d} span={options.max_span_s:g} window={window_s}"

    def _transcribe_span(
        self, recording: Recording, span: Span, language: str, start: Checkpoint
    ) -> Generator[Passage, None, Checkpoint]:
        offset_s, end_s = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
        count, window = start.segment_count, start
        raw_segments, clips, from_s = self._raw_segments(recording.read(span.start, span.end), language, start)
        yield Passage((), offset_s, start, prepared_s=end_s - offset_s, remaining_speech_s=speech_s(clips, from_s))
        for raw in raw_segments:
            if raw.seek < start.seek:
                continue
            if raw.seek != window.seek:
                replay_from_seek = window.seek if self.options.word_times else None
                window = window.model_copy(
                    update={"seek": raw.seek, "replay_from_seek": replay_from_seek, "segment_count": count}
                )
            segment = _saved_segment(raw, count, offset_s)
            count += 1
            yield Passage((segment,), segment.end, window, remaining_speech_s=speech_s(clips, raw.end))
        end = Checkpoint(
            span_start=span.end,
            mode_key=self._mode_key,
            segment_count=count,
            span_segments=count,
            silence_s=start.silence_s + end_s - offset_s - speech_s(clips),
        )
        yield Passage((), end_s, end)
        return end

    def _raw_segments(
        self, samples: Samples, language: str, start: Checkpoint
    ) -> tuple[Iterator[RawSegment], Sequence[Clip], float]:
        # Returns the segments of a span, its speech clips, and the second at which transcription starts.
        options = self.options
        seek = start.seek if start.replay_from_seek is None else start.replay_from_seek
        if not options.batch_size:
            speech = SpeechAudio(samples, vad=options.vad)
            raw_segments = sequential.transcribe(
                self.model, speech, language, seek=seek, beam_size=options.beam_size, word_times=options.word_times
            )
            return (
                raw_segments,
                speech.clips,
                speech.span_time(seek / self.model.frames_per_second) if speech.clips else 0.0,
            )
        clips = window_clips(samples, self.model.feature_extractor.chunk_length, vad=options.vad)
        batched = BatchedModel(
            model=self.model,
            language=language,
            batch_size=options.batch_size,
            beam_size=options.beam_size,
            word_times=options.word_times,
        )
        remaining = clips[start.seek :]
        return (
            batched.transcribe(samples, clips, seek=start.seek),
            clips,
            remaining[0].start / SAMPLE_RATE if remaining else 0.0,
        )

    def _language_of(self, samples: Samples) -> Language:
        max_samples = _LANGUAGE_WINDOWS * self.model.feature_extractor.n_samples
        code, probability, _ = self.model.detect_language(
            samples[:max_samples], language_detection_segments=_LANGUAGE_WINDOWS
        )
        return Language(code, float(probability))


def _saved_segment(raw: RawSegment, index: int, offset_s: float) -> SavedSegment:
    return SavedSegment(
        index=index,
        start=round(offset_s + raw.start, 2),
        end=round(offset_s + raw.end, 2),
        text=raw.text,
        avg_logprob=raw.avg_logprob,
        no_speech_prob=raw.no_speech_prob,
        compression_ratio=raw.compression_ratio,
        words=None if raw.words is None else tuple(_shifted(word, offset_s) for word in raw.words),
    )


def _shifted(word: Word, offset_s: float) -> Word:
    times = {"start": round(word.start + offset_s, 2), "end": round(word.end + offset_s, 2)}
    return word.model_copy(update=times)
