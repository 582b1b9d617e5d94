"""Transcribes a recording span by span and window by window."""

import hashlib
import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from operator import itemgetter
from typing import Final

import numpy as np
from faster_whisper import WhisperModel

from smelt.contract.state import Word
from smelt.contract.work import SavedSegment
from smelt.processor.media.recording import SAMPLE_RATE, Recording, Samples
from smelt.processor.speech.channels import merged_segments, speaker_label
from smelt.processor.speech.checkpoint import START, Checkpoint, Findings
from smelt.processor.speech.decoder import WindowDecoder, WindowSegment
from smelt.processor.speech.languages import Language
from smelt.processor.speech.parallel import ParallelTranscriber
from smelt.processor.speech.spans import Span, span_from
from smelt.processor.speech.vad import Clip, SpeechAudio, amplified, find_speech, speech_s, union_length
from smelt.processor.speech.values import Passage, SpeechOptions
from smelt.processor.speech.windows import RETRY_RULES, Stretch, WindowResult, WindowTranscriber, shifted

_LANGUAGE_WINDOWS: Final = 4
# A clip ends 0.4 s after its last speech; a shorter rest has no text.
_MIN_REST: Final = SAMPLE_RATE // 2
_MIN_ADVANCE: Final = SAMPLE_RATE // 2
# Pauses are removed, and windows cut in pauses, so that windows need more audio than their length.
_AUDIO_SHARE: Final = 1.25
# The segments of separate channels are merged by time at the end of a span. Half of it is speech in a dialog, so that
# the windows are still long.
_MAX_SEPARATE_SPAN_S: Final = 60.0


class Transcriber:
    """Transcribes recordings with one model; its methods block and are thread-safe.

    A model with several lanes transcribes several windows of a recording at a time, unless it transcribes batches. With
    `is_alone`, it transcribes one at a time, which gives the same text.
    """

    def __init__(self, model: WhisperModel, options: SpeechOptions, *, is_alone: bool = False) -> None:
        self.model = model
        self.options = options
        self._lanes = model.model.num_workers
        self._is_parallel = self._lanes > 1 and not options.batch_size
        self._span_windows = options.windows_per_step(self._lanes)
        self._step_windows = 1 if is_alone and self._is_parallel else self._span_windows

    def detect_language(self, recording: Recording) -> Language:
        """Detect the language of the first speech of the recording, in any of its separate channels."""
        if not self.model.model.is_multilingual:
            return Language("en", 1.0)
        start = 0
        while start < recording.sample_count:
            span = span_from(recording, start, self.options.max_span_s)
            for channel in recording.separated():
                speech = self._speech(channel.read(span.start, span.end))
                if len(speech.samples):
                    return self._language_of(speech.samples)
            start = span.end
        return Language("en", 0.0)

    def transcribe(self, recording: Recording, main_language: str, start: Checkpoint = START) -> Iterator[Passage]:
        """Transcribe the recording from a checkpoint; the same checkpoint always gives the same text.

        Unless the options name a language, that of each window is detected, and is `main_language` if the detection is
        uncertain.
        """
        checkpoint = self.resume_point(start)
        with self._windows(main_language) as windows, ThreadPoolExecutor(1) as background:
            following: Future[tuple[Span, SpeechAudio]] | None = None
            while checkpoint.span_start < recording.sample_count:
                if recording.channels:
                    span = self._span_from(recording, checkpoint.span_start)
                    checkpoint = yield from self._transcribe_channels(recording, span, windows, checkpoint)
                    continue
                span, speech = following.result() if following else self._prepared(recording, checkpoint.span_start)
                is_last = span.end == recording.sample_count
                # The end of a cut span does not depend on its text, so the next one is prepared meanwhile.
                following = (
                    background.submit(self._prepared, recording, span.end) if self._is_cut and not is_last else None
                )
                checkpoint = yield from self._transcribe_span(speech, span, windows, checkpoint, is_last=is_last)

    def resume_point(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return where this transcriber resumes from a checkpoint, which may be of another mode."""
        return checkpoint.for_mode(self._mode_key)

    @property
    def _is_cut(self) -> bool:
        """True if the windows of a span are cut beforehand, in pauses, so that none depends on the one before."""
        return self._is_parallel or bool(self.options.batch_size)

    @property
    def _mode_key(self) -> str:
        options = self.options
        window_s = self.model.feature_extractor.chunk_length
        if self._is_parallel:
            mode = "parallel"
        else:
            mode = f"batched={options.batch_size}" if options.batch_size else "sequential"
        return (
            f"{mode} retry={RETRY_RULES} vad={options.vad:d} words={options.word_times:d} "
            f"span={options.max_span_s:g} window={window_s} "
            f"task={options.task} language={options.language} vocabulary={_short_hash(options.vocabulary)}"
        )

    @contextmanager
    def _windows(self, main_language: str) -> Iterator[WindowTranscriber]:
        decoder = WindowDecoder(self.model, self.options, is_complete=self._is_cut)
        language = self.options.language
        if self._is_parallel:
            with ThreadPoolExecutor(self._lanes) as threads:
                yield ParallelTranscriber(decoder, threads, main_language=main_language, language=language)
        else:
            yield WindowTranscriber(decoder, main_language=main_language, language=language)

    def _span_from(self, recording: Recording, start: int) -> Span:
        max_span_s = self.options.max_span_s
        if self._is_cut:
            window_s = _AUDIO_SHARE * self.model.feature_extractor.chunk_length
            # The first text appears early.
            max_span_s = window_s if start == 0 else max(max_span_s, window_s * self._span_windows)
        if recording.channels:
            max_span_s = min(max_span_s, _MAX_SEPARATE_SPAN_S)
        return span_from(recording, start, max_span_s)

    def _prepared(self, recording: Recording, start: int) -> tuple[Span, SpeechAudio]:
        """Return the next span and its speech."""
        span = self._span_from(recording, start)
        speech = self._speech(recording.read(span.start, span.end))
        if self._is_cut and span.end < recording.sample_count:
            return self._limited_to_steps(span, speech)
        return span, speech

    def _speech(self, samples: Samples) -> SpeechAudio:
        samples = amplified(samples)
        if not self.options.vad:
            return SpeechAudio(samples, [], [Clip(0, len(samples))] if len(samples) else [])
        return find_speech(samples, max_clip_s=self.model.feature_extractor.chunk_length if self._is_cut else None)

    def _limited_to_steps(self, span: Span, speech: SpeechAudio) -> tuple[Span, SpeechAudio]:
        """End a span with a full step if it has one, and before its last window: that one goes on in the next span."""
        cuts = speech.cuts(self.model.feature_extractor.n_samples)
        last = len(cuts) - 1
        count = last // self._span_windows * self._span_windows or last
        if not count:
            return span, speech
        return Span(span.start, span.start + speech.span_position(cuts[count])), speech.before(cuts[count])

    def _transcribe_channels(
        self, recording: Recording, span: Span, transcriber: WindowTranscriber, start: Checkpoint
    ) -> Generator[Passage, None, Checkpoint]:
        """Transcribe a span of one channel after the other; all segments follow at its end, with its checkpoint."""
        channels = recording.separated()
        found = []
        for place, channel in enumerate(channels):
            passages = self._transcribe_channel(channel, span, transcriber)
            found.append((yield from _without_segments(passages, start, span, place, len(channels))))
        merged = merged_segments(
            [one.segments for one in found],
            [speaker_label(number) for number in recording.channels],
            lambda place, start_s, end_s: _power(channels[place], start_s, end_s),
            start.segment_count,
        )
        silence = span.end - span.start - union_length([clip for one in found for clip in one.clips])
        end = Checkpoint(
            span_start=span.end,
            mode_key=self._mode_key,
            position=span.end,
            segment_count=start.segment_count + len(merged),
            findings=start.findings.with_channels([one.findings for one in found], silence / SAMPLE_RATE),
        )
        yield Passage(merged, span.end / SAMPLE_RATE, end)
        return end

    def _transcribe_channel(
        self, channel: Recording, span: Span, transcriber: WindowTranscriber
    ) -> Generator[Passage, None, "_ChannelTranscript"]:
        speech = self._speech(channel.read(span.start, span.end))
        segments: list[SavedSegment] = []
        checkpoint = Checkpoint(span_start=span.start, position=span.start)
        for passage in self._transcribe_span(speech, span, transcriber, checkpoint):
            segments += passage.segments
            checkpoint = passage.checkpoint
            yield passage
        return _ChannelTranscript(segments, speech.clips, checkpoint.findings)

    def _transcribe_span(
        self,
        speech: SpeechAudio,
        span: Span,
        transcriber: WindowTranscriber,
        start: Checkpoint,
        *,
        is_last: bool = True,
    ) -> Generator[Passage, None, Checkpoint]:
        """Transcribe a span; unless it is the last one, what is left of it for a part of a window is in the next."""
        offset_s = span.start / SAMPLE_RATE
        remaining_s = speech_s(speech.clips, speech.span_position(start.seek) / SAMPLE_RATE)
        prepared_s = (span.end - span.start) / SAMPLE_RATE
        checkpoint, position_s = start, _rounded_up_s(span.start)
        yield Passage((), position_s, start, prepared_s=prepared_s, remaining_speech_s=remaining_s)
        for step in self._steps(speech, transcriber, start.seek, is_last=is_last):
            count, findings = checkpoint.segment_count, checkpoint.findings
            for seek, result in step.windows:
                segments = _saved_segments(result, count, speech, seek, span)
                findings = _with_window(findings, result, segments, speech, seek, span)
                count += len(segments)
                for segment in segments:
                    position_s = max(position_s, segment.end)
                    remaining_s = min(remaining_s, speech_s(speech.clips, segment.end - offset_s))
                    yield Passage((segment,), position_s, checkpoint, remaining_speech_s=remaining_s)
            position = span.start + speech.span_position(step.end)
            silence_s = (position - checkpoint.position - step.end + checkpoint.seek) / SAMPLE_RATE
            checkpoint = checkpoint.model_copy(
                update={
                    "seek": step.end,
                    "position": position,
                    "segment_count": count,
                    "findings": findings.with_silence(silence_s),
                }
            )
            position_s = max(position_s, position / SAMPLE_RATE)
            remaining_s = min(remaining_s, (len(speech.samples) - step.end) / SAMPLE_RATE)
            yield Passage((), position_s, checkpoint, remaining_speech_s=remaining_s)
        end = self._end_of(span, checkpoint, speech, is_last=is_last)
        yield Passage((), span.end / SAMPLE_RATE if end.position == span.end else _rounded_up_s(end.position), end)
        return end

    def _end_of(self, span: Span, last: Checkpoint, speech: SpeechAudio, *, is_last: bool) -> Checkpoint:
        """Return the checkpoint after a span."""
        is_whole = is_last or not _has_rest(last.seek, len(speech.samples))
        position = span.end if is_whole else last.position
        silence = position - last.position - (len(speech.samples) - last.seek if is_whole else 0)
        return Checkpoint(
            span_start=position,
            mode_key=self._mode_key,
            position=position,
            segment_count=last.segment_count,
            findings=last.findings.with_silence(silence / SAMPLE_RATE),
        )

    def _steps(
        self, speech: SpeechAudio, transcriber: WindowTranscriber, seek: int, *, is_last: bool
    ) -> Iterator["_Step"]:
        if self._is_cut:
            return _batches(speech, transcriber, seek, self._step_windows)
        return _sequence(speech, transcriber, seek, is_last=is_last)

    def _language_of(self, samples: Samples) -> Language:
        max_samples = _LANGUAGE_WINDOWS * self.model.feature_extractor.n_samples
        code, probability, _ = self.model.detect_language(
            samples[:max_samples], language_detection_segments=_LANGUAGE_WINDOWS
        )
        return Language(code, float(probability))


@dataclass(frozen=True)
class _ChannelTranscript:
    """A span of a channel: its segments, its speech, and the findings in it."""

    segments: Sequence[SavedSegment]
    clips: Sequence[Clip]
    findings: Findings


def _without_segments(
    passages: Generator[Passage, None, _ChannelTranscript], start: Checkpoint, span: Span, place: int, count: int
) -> Generator[Passage, None, _ChannelTranscript]:
    """Yield the progress of one of `count` channels in a span, whose segments follow later."""
    offset_s, length_s = span.start / SAMPLE_RATE, (span.end - span.start) / SAMPLE_RATE
    while True:
        try:
            passage = next(passages)
        except StopIteration as end:
            found: _ChannelTranscript = end.value
            return found
        position_s = round(offset_s + (place * length_s + passage.position_s - offset_s) / count, 3)
        yield replace(passage, segments=(), position_s=position_s, checkpoint=start)


@dataclass(frozen=True)
class _Step:
    """Windows that are transcribed together, each with its start in the speech; the next step starts at `end`."""

    windows: Sequence[tuple[int, WindowResult]]
    end: int


def _sequence(speech: SpeechAudio, transcriber: WindowTranscriber, seek: int, *, is_last: bool) -> Iterator[_Step]:
    """Transcribe one window after the other; the end of each decides the start of the next.

    Unless the speech is that of the last span, its end is left out if it fills only a part of a window, which would
    take nearly as long as a whole one.
    """
    whole, length = transcriber.decoder.window(speech), len(speech.samples)
    while _has_rest(seek, length):
        if seek > 0 and length - seek < transcriber.decoder.window_samples and not is_last:
            break
        window_end = min(seek + transcriber.decoder.window_samples, length)
        [result] = transcriber.transcribe([whole.part(seek, window_end)])
        end = seek + _length(result, window_end - seek)
        end = end if _has_rest(end, length) else length
        yield _Step([(seek, result)], end)
        seek = end


def _batches(speech: SpeechAudio, transcriber: WindowTranscriber, seek: int, size: int) -> Iterator[_Step]:
    """Transcribe several windows at a time, which are cut in pauses beforehand."""
    edges = [*speech.cuts(transcriber.decoder.window_samples), len(speech.samples)]
    whole = transcriber.decoder.window(speech)
    windows = iter([(start, end) for start, end in pairwise(edges) if seek <= start < end])
    while batch := list(islice(windows, size)):
        found, rest = [], batch
        while rest:
            results = transcriber.transcribe([whole.part(start, end) for start, end in rest])
            found += [(start, result) for (start, _), result in zip(rest, results, strict=True)]
            reached = [
                (start + _length(result, end - start), end) for (start, end), result in zip(rest, results, strict=True)
            ]
            rest = [(start, end) for start, end in reached if _has_rest(start, end)]
        yield _Step(sorted(found, key=itemgetter(0)), batch[-1][1])


def _length(result: WindowResult, window: int) -> int:
    """Return how many samples of a window have a result; at least half a second, so that the next window differs."""
    return min(window, max(round(result.end_s * SAMPLE_RATE), _MIN_ADVANCE))


def _power(channel: Recording, start_s: float, end_s: float) -> float:
    """Return the mean square of a stretch of a channel."""
    samples = channel.read(int(start_s * SAMPLE_RATE), math.ceil(end_s * SAMPLE_RATE))
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


def _short_hash(terms: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(terms).encode()).hexdigest()[:12] if terms else "none"


def _rounded_up_s(position: int) -> float:
    """Return the seconds until a sample; not before the end of a segment, which is rounded."""
    return math.ceil(position / SAMPLE_RATE * 100) / 100


def _has_rest(position: int, end: int) -> bool:
    return end - position >= _MIN_REST


def _saved_segments(
    result: WindowResult, first_index: int, speech: SpeechAudio, seek: int, span: Span
) -> tuple[SavedSegment, ...]:
    return tuple(
        _saved_segment(segment, first_index + n, speech, span)
        for n, segment in enumerate(shifted(segment, seek / SAMPLE_RATE) for segment in result.segments)
    )


def _saved_segment(segment: WindowSegment, index: int, speech: SpeechAudio, span: Span) -> SavedSegment:
    offset_s = span.start / SAMPLE_RATE
    words = segment.words
    start_s, end_s = speech.span_times(words[0].start if words else segment.start_s, segment.end_s)
    start, end = round(offset_s + start_s, 2), round(offset_s + max(start_s, end_s), 2)
    return SavedSegment(
        index=index,
        start=start,
        end=end,
        text=segment.text,
        avg_logprob=segment.avg_logprob,
        no_speech_prob=segment.no_speech_prob,
        compression_ratio=segment.compression_ratio,
        words=None if words is None else tuple(_placed(word, speech, offset_s, start, end) for word in words),
    )


def _placed(word: Word, speech: SpeechAudio, offset_s: float, start: float, end: float) -> Word:
    times = (min(max(round(offset_s + time_s, 2), start), end) for time_s in speech.word_times(word.start, word.end))
    return word.model_copy(update=dict(zip(("start", "end"), times, strict=True)))


def _with_window(
    findings: Findings,
    result: WindowResult,
    segments: Sequence[SavedSegment],
    speech: SpeechAudio,
    seek: int,
    span: Span,
) -> Findings:
    def placed(start_s: float, end_s: float) -> Stretch:
        seek_s, offset_s = seek / SAMPLE_RATE, span.start / SAMPLE_RATE
        start_s, end_s = speech.span_times(seek_s + start_s, seek_s + end_s)
        return round(offset_s + start_s, 2), round(offset_s + end_s, 2)

    return findings.with_window(
        language=result.language,
        text_s=sum(segment.end - segment.start for segment in segments),
        untranscribed=tuple(placed(*stretch) for stretch in result.untranscribed),
        retried=(placed(0.0, result.end_s),) if result.retried else (),
    )
