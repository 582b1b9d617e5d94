"""Transcription of a recording, span by span and window by window."""

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
    """How to listen; `batch_size` 0 takes one window after the other."""

    batch_size: int = 0
    beam_size: int = 5
    vad: bool = True
    word_times: bool = False
    max_span_s: float = 120.0

    @property
    def smaller(self) -> "SpeechOptions | None":
        """The same with half the batch, down to one window after the other; None when that is how it listens."""
        return replace(self, batch_size=self.batch_size // 2) if self.batch_size else None


@dataclass(frozen=True)
class Passage:
    """What was heard up to `position_s` of the recording, and where to take up if nothing follows.

    The first passage of a span comes when the model is about to hear it, and tells in `prepared_s` how long the span
    is. Each tells how much speech of its span is still to be heard.
    """

    segments: tuple[SavedSegment, ...]
    position_s: float
    checkpoint: Checkpoint
    prepared_s: float = 0.0
    speech_left_s: float = 0.0


@dataclass(frozen=True)
class Language:
    """The language of a recording, fixed for the whole of it."""

    code: str
    probability: float


class Transcriber:
    """Hears recordings with one model; its methods block, and may run in several threads at once."""

    def __init__(self, model: WhisperModel, options: SpeechOptions) -> None:
        self.model = model
        self.options = options

    def detect_language(self, recording: Recording) -> Language:
        """The language that the first speech of the recording is in."""
        if not self.model.model.is_multilingual:
            return Language("en", 1.0)
        start = 0
        while start < recording.sample_count:
            span = span_from(recording, start, self.options.max_span_s)
            voice = SpeechAudio(recording.read(span.start, span.end), vad=self.options.vad)
            if len(voice.samples):
                return self._language_of(voice.samples)
            start = span.end
        return Language("en", 0.0)

    def listen(self, recording: Recording, language: str, start: Checkpoint = START) -> Iterator[Passage]:
        """Hear the recording from a checkpoint on; from the same checkpoint always the same text."""
        checkpoint = self.resumable(start)
        while checkpoint.span_start < recording.sample_count:
            span = span_from(recording, checkpoint.span_start, self.options.max_span_s)
            checkpoint = yield from self._listen_span(recording, span, language, checkpoint)

    def resumable(self, checkpoint: Checkpoint) -> Checkpoint:
        """Where this transcriber takes up what another one, perhaps with other settings, has left at a checkpoint."""
        return checkpoint.for_mode(self._way)

    def with_options(self, options: SpeechOptions) -> "Transcriber":
        """The same model, listening in another way."""
        return Transcriber(self.model, options)

    @property
    def _way(self) -> str:
        options = self.options
        window_s = self.model.feature_extractor.chunk_length
        way = "batched" if options.batch_size else "sequential"
        return f"{way} vad={options.vad:d} words={options.word_times:d} span={options.max_span_s:g} window={window_s}"

    def _listen_span(
        self, recording: Recording, span: Span, language: str, start: Checkpoint
    ) -> Generator[Passage, None, Checkpoint]:
        offset_s, end_s = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
        count, window = start.segment_count, start
        pieces, clips, from_s = self._pieces(recording.read(span.start, span.end), language, start)
        yield Passage((), offset_s, start, prepared_s=end_s - offset_s, speech_left_s=speech_s(clips, from_s))
        for heard in pieces:
            if heard.seek < start.seek:
                continue
            if heard.seek != window.seek:
                replay_from_seek = window.seek if self.options.word_times else None
                window = window.model_copy(
                    update={"seek": heard.seek, "replay_from_seek": replay_from_seek, "segment_count": count}
                )
            segment = _saved(heard, count, offset_s)
            count += 1
            yield Passage((segment,), segment.end, window, speech_left_s=speech_s(clips, heard.end))
        end = Checkpoint(
            span_start=span.end,
            way=self._way,
            segment_count=count,
            span_segments=count,
            silence_s=start.silence_s + end_s - offset_s - speech_s(clips),
        )
        yield Passage((), end_s, end)
        return end

    def _pieces(
        self, samples: Samples, language: str, start: Checkpoint
    ) -> tuple[Iterator[RawSegment], Sequence[Clip], float]:
        # What is heard of a span, which parts of it are speech, and from which second on the model hears them.
        options = self.options
        seek = start.seek if start.replay_from_seek is None else start.replay_from_seek
        if not options.batch_size:
            voice = SpeechAudio(samples, vad=options.vad)
            pieces = sequential.listen(
                self.model, voice, language, seek=seek, beam_size=options.beam_size, word_times=options.word_times
            )
            return pieces, voice.clips, voice.span_time(seek / self.model.frames_per_second) if voice.clips else 0.0
        clips = window_clips(samples, self.model.feature_extractor.chunk_length, vad=options.vad)
        batched = BatchedModel(
            model=self.model,
            language=language,
            batch_size=options.batch_size,
            beam_size=options.beam_size,
            word_times=options.word_times,
        )
        left = clips[start.seek :]
        return batched.listen(samples, clips, seek=start.seek), clips, left[0].start / SAMPLE_RATE if left else 0.0

    def _language_of(self, samples: Samples) -> Language:
        longest = _LANGUAGE_WINDOWS * self.model.feature_extractor.n_samples
        code, probability, _ = self.model.detect_language(
            samples[:longest], language_detection_segments=_LANGUAGE_WINDOWS
        )
        return Language(code, float(probability))


def _saved(heard: RawSegment, index: int, offset_s: float) -> SavedSegment:
    return SavedSegment(
        index=index,
        start=round(offset_s + heard.start, 2),
        end=round(offset_s + heard.end, 2),
        text=heard.text,
        avg_logprob=heard.avg_logprob,
        no_speech_prob=heard.no_speech_prob,
        compression_ratio=heard.compression_ratio,
        words=None if heard.words is None else tuple(_moved(word, offset_s) for word in heard.words),
    )


def _moved(word: Word, offset_s: float) -> Word:
    times = {"start": round(word.start + offset_s, 2), "end": round(word.end + offset_s, 2)}
    return word.model_copy(update=times)
