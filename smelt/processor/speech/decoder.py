"""Runs the model on windows of speech: encodes, detects languages, generates, and aligns words."""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from inspect import signature
from itertools import groupby
from typing import Any, Final

import numpy as np
from ctranslate2 import DataType, Device, StorageView
from ctranslate2.models import WhisperGenerationResult
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens
from numpy.typing import NDArray

from smelt.contract.state import Word
from smelt.processor.media.recording import SAMPLE_RATE, Samples
from smelt.processor.speech.languages import SLICE_S, slice_starts
from smelt.processor.speech.tokens import TokenSegment, split_at_timestamps, without_repetition
from smelt.processor.speech.vad import SpeechAudio
from smelt.processor.speech.values import SpeechOptions
from smelt.processor.speech.vocabulary import fitting_prompt

logger = logging.getLogger(__name__)

MIN_UNCOVERED_S: Final = 1.0
"""Less speech than this without a segment is due to imprecise timestamps."""

_HOP: Final = 160
_FEATURE_FRAMES_PER_S: Final = SAMPLE_RATE // _HOP
# The encoder halves the number of frames.
_ENCODED_FRAMES_PER_S: Final = _FEATURE_FRAMES_PER_S // 2
_MAX_INITIAL_TIMESTAMP_S: Final = 1.0
_PADDING_S: Final = 0.3
# A window ends 0.4 s after its last speech; a shorter rest has no text.
_MIN_REST_S: Final = 0.5
# Marks that belong to the following and to the preceding word: the defaults of faster-whisper.
_PUNCTUATION: Final = tuple(
    signature(WhisperModel.transcribe).parameters[name].default
    for name in ("prepend_punctuations", "append_punctuations")
)


@dataclass(frozen=True)
class Window:
    """A part of the speech of a span: its samples, its features of shape (mels, frames), and its pauses.

    `voiced` has True for each frame with speech, `pauses` the samples at which a pause was removed.
    """

    samples: Samples
    features: NDArray[np.float32]
    voiced: NDArray[np.bool_]
    pauses: tuple[int, ...]

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return len(self.samples) / SAMPLE_RATE

    def part(self, start: int, end: int) -> "Window":
        """Return the part between two samples."""
        frames = slice(start // _HOP, -(-end // _HOP))
        return Window(
            self.samples[start:end],
            self.features[:, frames],
            self.voiced[frames],
            tuple(pause - start for pause in self.pauses if start < pause < end),
        )

    def voiced_s(self, start_s: float, end_s: float) -> float:
        """Return the seconds of speech between two times."""
        frames = slice(int(start_s * _FEATURE_FRAMES_PER_S), int(end_s * _FEATURE_FRAMES_PER_S))
        return int(np.count_nonzero(self.voiced[frames])) / _FEATURE_FRAMES_PER_S


@dataclass(frozen=True, kw_only=True)
class WindowSegment:
    """A segment, in seconds from the start of its window; `words` is None unless the decoder aligns words."""

    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    words: tuple[Word, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DecodedWindow:
    """The result of one pass over a window; the next window starts at `end_s`."""

    window: Window
    language: str
    segments: tuple[WindowSegment, ...]
    end_s: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float

    @property
    def text(self) -> str:
        """The text of all segments."""
        return " ".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class EncodedWindows:
    """Some windows, and the output of the encoder for them."""

    output: StorageView
    windows: Sequence[Window]

    def selected(self, indexes: Sequence[int]) -> "EncodedWindows":
        """Return some of the windows."""
        if len(indexes) == len(self.windows):
            return self
        output = StorageView.from_array(self.as_array()[list(indexes)]).to(self.output.dtype)
        return EncodedWindows(output, [self.windows[index] for index in indexes])

    def as_array(self) -> NDArray[np.float32]:
        """Return the output of shape (windows, frames, values)."""
        return np.asarray(self.output.to_device(Device.cpu).to(DataType.float32))


@dataclass
class _WindowTokens:
    """The tokens of a window, of one or several results of the model, and the time at which they end."""

    segments: list[TokenSegment] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    end_s: float = 0.0
    no_speech_prob: float = 1.0
    logprob_sum: float = 0.0
    result_count: int = 0

    def add(self, result: WhisperGenerationResult, segments: Sequence[TokenSegment], end_s: float) -> None:
        """Add a result, unless it repeats the ones before instead of continuing them."""
        if self.result_count and not all(self.end_s <= segment.start_s < segment.end_s for segment in segments):
            return
        tokens = result.sequences_ids[0]
        self.segments += segments
        self.tokens += tokens
        self.end_s = end_s
        self.no_speech_prob = min(self.no_speech_prob, float(result.no_speech_prob))
        self.logprob_sum += float(result.scores[0]) * len(tokens)
        self.result_count += 1

    @property
    def avg_logprob(self) -> float:
        """The mean log probability, with the end of each result."""
        return self.logprob_sum / (len(self.tokens) + self.result_count)


class WindowDecoder:
    """Decodes windows with one model and fixed options; always at temperature 0, so results are reproducible.

    With `is_complete`, it decodes each window to its end, although the model stops earlier.
    """

    def __init__(self, model: WhisperModel, options: SpeechOptions, *, is_complete: bool = False) -> None:
        self._model = model
        self._options = options
        self._is_complete = is_complete

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words and names to expect."""
        return self._options.vocabulary

    @property
    def batch_size(self) -> int:
        """The maximum number of windows that are decoded at a time."""
        return max(1, self._options.batch_size)

    @property
    def window_samples(self) -> int:
        """The maximum length of a window in samples."""
        return int(self._model.feature_extractor.n_samples)

    @property
    def is_multilingual(self) -> bool:
        """True if the model knows languages other than English."""
        return bool(self._model.model.is_multilingual)

    def window(self, speech: SpeechAudio) -> Window:
        """Return all speech of a span as one window, to take parts from."""
        features = self._model.feature_extractor(speech.samples)
        voiced = np.zeros(features.shape[1], dtype=np.bool_)
        for clip in speech.voiced:
            voiced[clip.start // _HOP : clip.end // _HOP] = True
        return Window(speech.samples, features, voiced, tuple(speech.pauses))

    def encode(self, windows: Sequence[Window]) -> EncodedWindows:
        """Encode windows of at most `window_samples`."""
        features = np.stack([pad_or_trim(window.features) for window in windows])
        return EncodedWindows(self._model.encode(features), windows)

    def detect_languages(self, encoded: EncodedWindows) -> list[list[dict[str, float]]]:
        """Return the probability of each language for each slice of each window."""
        starts = [slice_starts(window.duration_s) for window in encoded.windows]
        parts = [(n, start_s) for n, starts_s in enumerate(starts) for start_s in starts_s]
        found = iter(self._detect(encoded, parts, SLICE_S))
        return [[next(found) for _ in starts_s] for starts_s in starts]

    def detect_languages_at(
        self, encoded: EncodedWindows, index: int, starts_s: Sequence[float], length_s: float
    ) -> list[dict[str, float]]:
        """Return the probability of each language for parts of one window."""
        return self._detect(encoded, [(index, start_s) for start_s in starts_s], length_s)

    def decode(
        self,
        encoded: EncodedWindows,
        languages: Sequence[str],
        *,
        no_repeat_ngram_size: int = 0,
        use_vocabulary: bool = True,
    ) -> list[DecodedWindow]:
        """Decode each window in its language, or translate it from this language."""
        tokenizers = [self._tokenizer(language) for language in languages]
        prompt = self._vocabulary_prompt if use_vocabulary else []
        found = [_WindowTokens() for _ in encoded.windows]
        self._generate(encoded, tokenizers, found, prompt, no_repeat_ngram_size)
        if self._is_complete:
            self._complete(encoded, tokenizers, found, prompt, no_repeat_ngram_size)
        words = self._align(encoded, tokenizers, [one.segments for one in found])
        return [
            self._decoded(one, tokenizer, window, timed)
            for one, tokenizer, window, timed in zip(found, tokenizers, encoded.windows, words, strict=True)
        ]

    def _complete(
        self,
        encoded: EncodedWindows,
        tokenizers: Sequence[Tokenizer],
        found: Sequence[_WindowTokens],
        prompt: Sequence[int],
        no_repeat_ngram_size: int,
    ) -> None:
        """Decode each window to its end, as far as the model continues at the time at which it stopped.

        It stops before a sentence that it takes for unfinished; a window that was cut beforehand, however, ends in a
        pause. A rest that it does not continue, with less than a second of speech, has no text.
        """
        starts_s = [-1.0] * len(found)
        while True:
            rest = [
                n
                for n, (one, window) in enumerate(zip(found, encoded.windows, strict=True))
                if starts_s[n] < one.end_s < window.duration_s - _MIN_REST_S
            ]
            if not rest:
                break
            for n in rest:
                starts_s[n] = found[n].end_s
            parts = encoded.selected(rest), [tokenizers[n] for n in rest], [found[n] for n in rest]
            self._generate(*parts, prompt, no_repeat_ngram_size)
        for one, window in zip(found, encoded.windows, strict=True):
            if window.voiced_s(one.end_s, window.duration_s) < MIN_UNCOVERED_S:
                one.end_s = window.duration_s

    def _generate(
        self,
        encoded: EncodedWindows,
        tokenizers: Sequence[Tokenizer],
        found: Sequence[_WindowTokens],
        prompt: Sequence[int],
        no_repeat_ngram_size: int,
    ) -> None:
        """Add the tokens of each window from the end of those that are found."""
        tick_s = self._model.time_precision
        is_first = not any(one.result_count for one in found)
        starts = [
            [] if is_first else [tokenizer.timestamp_begin + round(one.end_s / tick_s)]
            for one, tokenizer in zip(found, tokenizers, strict=True)
        ]
        max_initial_s = _MAX_INITIAL_TIMESTAMP_S if is_first else self.window_samples / SAMPLE_RATE
        results = self._model.model.generate(
            encoded.output,
            [[*prompt, *tokenizer.sot_sequence, *start] for tokenizer, start in zip(tokenizers, starts, strict=True)],
            beam_size=self._options.beam_size,
            no_repeat_ngram_size=no_repeat_ngram_size,
            max_length=self._model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed_tokens,
            max_initial_timestamp_index=round(max_initial_s / tick_s),
        )
        for one, result, tokenizer, window in zip(found, results, tokenizers, encoded.windows, strict=True):
            segments, end_s = split_at_timestamps(
                result.sequences_ids[0],
                timestamp_begin=tokenizer.timestamp_begin,
                tick_s=tick_s,
                window_s=window.duration_s,
            )
            if not is_first:
                segments = without_repetition(one.segments, segments, timestamp_begin=tokenizer.timestamp_begin)
            one.add(result, segments, end_s)

    def _detect(
        self, encoded: EncodedWindows, parts: Sequence[tuple[int, float]], length_s: float
    ) -> list[dict[str, float]]:
        # The encoder output of a part still serves for detection, which saves encoding each part.
        output = encoded.as_array()
        length = int(length_s * _ENCODED_FRAMES_PER_S)
        last = output.shape[1] - length
        starts = [(index, min(int(start_s * _ENCODED_FRAMES_PER_S), last)) for index, start_s in parts]
        stacked = np.stack([output[index, start : start + length] for index, start in starts])
        found = self._model.model.detect_language(StorageView.from_array(stacked).to(encoded.output.dtype))
        return [{token[2:-2]: float(probability) for token, probability in ranked} for ranked in found]

    def _align(
        self, encoded: EncodedWindows, tokenizers: Sequence[Tokenizer], parts: Sequence[Sequence[TokenSegment]]
    ) -> list[list[tuple[Word, ...] | None]]:
        """Return the words of each segment; None if no words are needed, to report or to split at a pause."""
        needed: dict[int | None, list[int]] = {}
        for n, (window, segments) in enumerate(zip(encoded.windows, parts, strict=True)):
            if self._options.word_times or _reaches_over_pause(segments, window.pauses):
                needed.setdefault(tokenizers[n].language, []).append(n)
        words: list[list[tuple[Word, ...] | None]] = [[None] * len(segments) for segments in parts]
        # An alignment has one start sequence and one rule to split words: those of one language.
        for indexes in needed.values():
            selected = encoded.selected(indexes)
            rows: list[list[dict[str, Any]]] = [
                [{"seek": 0, "start": s.start_s, "end": s.end_s, "tokens": list(s.tokens)} for s in parts[n]]
                for n in indexes
            ]
            self._model.add_word_timestamps(
                rows,
                _dividing(tokenizers[indexes[0]]),
                selected.output,
                [int(window.duration_s * _FEATURE_FRAMES_PER_S) for window in selected.windows],
                *_PUNCTUATION,
                0.0,
            )
            for n, timed in zip(indexes, rows, strict=True):
                words[n] = [_words(row["words"], part) for row, part in zip(timed, parts[n], strict=True)]
        return words

    def _decoded(
        self,
        found: _WindowTokens,
        tokenizer: Tokenizer,
        window: Window,
        words: Sequence[tuple[Word, ...] | None],
    ) -> DecodedWindow:
        text = tokenizer.decode(found.tokens).strip()
        statistics = {
            "avg_logprob": found.avg_logprob,
            "no_speech_prob": found.no_speech_prob,
            "compression_ratio": float(get_compression_ratio(text)) if text else 0.0,
        }
        segments = [
            WindowSegment(start_s=part.start_s, end_s=part.end_s, text=text, words=timed, **statistics)
            for part, timed in zip(found.segments, words, strict=True)
            if any(map(str.isalnum, text := tokenizer.decode(part.tokens).strip()))
        ]
        pauses_s = [pause / SAMPLE_RATE for pause in window.pauses]
        split = [piece for segment in segments for piece in split_at_pauses(segment, pauses_s)]
        return DecodedWindow(
            window=window,
            language=tokenizer.language_code,
            segments=tuple(split if self._options.word_times else (replace(piece, words=None) for piece in split)),
            end_s=found.end_s,
            **statistics,
        )

    def _tokenizer(self, language: str) -> Tokenizer:
        # The model has learned to translate from other languages only.
        task = "transcribe" if language == "en" else self._options.task
        return Tokenizer(self._model.hf_tokenizer, self.is_multilingual, task=task, language=language)

    @cached_property
    def _vocabulary_prompt(self) -> list[int]:
        """The tokens before the start of each window."""
        terms, tokenizer = self.vocabulary, self._tokenizer("en")
        if not terms:
            return []
        tokens, count = fitting_prompt(terms, tokenizer.encode)
        if count < len(terms):
            _warn_of_cut(terms, count)
        return [tokenizer.sot_prev, *tokens] if tokens else []

    @cached_property
    def _suppressed_tokens(self) -> list[int]:
        return list(get_suppressed_tokens(self._tokenizer("en"), [-1]))


@lru_cache(maxsize=64)
def _warn_of_cut(terms: tuple[str, ...], count: int) -> None:
    """Log once that a vocabulary does not fit."""
    logger.warning("the first %s of %s terms of a vocabulary fit into the context of the model", count, len(terms))


def split_at_pauses(segment: WindowSegment, pauses_s: Sequence[float]) -> list[WindowSegment]:
    """Split a segment at the pauses between its words, if they are known; no part reaches over a pause."""
    if not segment.words:
        return [segment]
    groups = [(clip, tuple(words)) for clip, words in groupby(segment.words, lambda word: _clip_of(word, pauses_s))]
    return [
        replace(
            segment,
            start_s=segment.start_s if n == 0 and bisect_right(pauses_s, segment.start_s) == clip else words[0].start,
            end_s=segment.end_s
            if n == len(groups) - 1 and bisect_left(pauses_s, segment.end_s) == clip
            else words[-1].end,
            text="".join(word.word for word in words).strip(),
            words=words,
        )
        for n, (clip, words) in enumerate(groups)
    ]


def _clip_of(word: Word, pauses_s: Sequence[float]) -> int:
    # Speech ends 0.4 s before a pause; alignment places a word too early rather than too late.
    return bisect_right(pauses_s, (word.start + word.end) / 2 + _PADDING_S)


def _reaches_over_pause(segments: Sequence[TokenSegment], pauses: Sequence[int]) -> bool:
    return any(
        segment.start_s * SAMPLE_RATE < pause < segment.end_s * SAMPLE_RATE for segment in segments for pause in pauses
    )


def _dividing(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that divides the text into words: a translation by the rules of English."""
    if tokenizer.task != tokenizer.translate:
        return tokenizer
    dividing = copy(tokenizer)
    dividing.language_code = "en"
    return dividing


def _words(rows: Sequence[dict[str, Any]], segment: TokenSegment) -> tuple[Word, ...]:
    """Return the words of a segment, limited to it.

    Word alignment attributes a pause to the following word; faster-whisper corrects only pauses above 0.5 s.
    """
    words = [
        Word(word=row["word"], start=row["start"], end=row["end"], probability=round(float(row["probability"]), 3))
        for row in rows
    ]
    if words:
        first = words[0]
        words[0] = first.model_copy(update={"start": max(first.start, min(segment.start_s, first.end))})
        last = words[-1]
        words[-1] = last.model_copy(update={"end": max(last.start, min(last.end, segment.end_s))})
    return tuple(words)
