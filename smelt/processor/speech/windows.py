"""Transcribes windows of speech: in the language of each one, and again where the first pass is suspicious.

A result depends only on the audio of its window and the options: never on earlier text, chance or time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.decoder import DecodedWindow, EncodedWindows, Window, WindowDecoder, WindowSegment
from smelt.processor.speech.languages import SLICE_S, first_change, spoken_language
from smelt.processor.speech.spans import quietest
from smelt.processor.speech.vocabulary import is_echo, is_same_speech
from smelt.transcripts.writing import word_count

RETRY_RULES: Final = 1
"""The version of the rules of this file; a change of the text that they give increases it."""

# The thresholds of OpenAI's Whisper.
_MAX_COMPRESSION: Final = 2.4
_MIN_LOGPROB: Final = -1.0
_MIN_SILENCE_PROBABILITY: Final = 0.6
# Even slow speech has one word a second.
_MIN_WORDS_PER_S: Final = 0.5
_MIN_THIN_S: Final = 4.0
_NO_REPEAT_NGRAM_SIZE: Final = 3
_MAX_PASSES: Final = 3
# Less speech than this between two segments is due to imprecise timestamps.
_MIN_UNCOVERED_S: Final = 1.0
_MIN_REST: Final = SAMPLE_RATE // 2
# To find a change of language, slices of this length are examined in steps of a second.
_CHANGE_SLICE_S: Final = 6.0

Stretch = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """The transcript of a window; `untranscribed` are stretches of its speech without text."""

    language: str
    segments: tuple[WindowSegment, ...]
    end_s: float
    retried: bool
    untranscribed: tuple[Stretch, ...]


class WindowTranscriber:
    """Transcribes windows; `language` None detects the language of each window, with `main_language` if uncertain."""

    def __init__(self, decoder: WindowDecoder, *, main_language: str, language: str | None) -> None:
        self.decoder = decoder
        self._main_language = main_language
        self._language = language if decoder.is_multilingual else "en"

    def transcribe(self, windows: Sequence[Window]) -> list[WindowResult]:
        """Transcribe some windows; a window ends where its language changes."""
        encoded = self.decoder.encode(windows)
        languages = [self._language or self._main_language] * len(windows)
        parts = windows
        if self._language is None:
            found = [self._first_language(encoded, n, slices) for n, slices in enumerate(self._slices(encoded))]
            languages, parts = [language for language, _ in found], [part for _, part in found]
            if any(part is not window for part, window in zip(parts, windows, strict=True)):
                encoded = self.decoder.encode(parts)
        firsts = self._decoded(encoded, languages)
        results = [self._completed(first, encoded if len(parts) == 1 else None) for first in firsts]
        return [
            result if part is window else self._with_rest(result, part)
            for result, part, window in zip(results, parts, windows, strict=True)
        ]

    def _with_rest(self, result: WindowResult, part: Window) -> WindowResult:
        """Complete a window that ends where its language changes: its rest is in the same language."""
        length = len(part.samples)
        while (start := int(result.end_s * SAMPLE_RATE)) < length - _MIN_REST:
            rest = part.part(start, length)
            [first] = self._decoded(self.decoder.encode([rest]), [result.language])
            result = _chained(result, self._completed(first, None))
        return replace(result, end_s=part.duration_s)

    def _slices(self, encoded: EncodedWindows) -> list[list[str]]:
        return [
            [spoken_language(found, self._main_language) for found in slices]
            for slices in self.decoder.detect_languages(encoded)
        ]

    def _first_language(self, encoded: EncodedWindows, index: int, slices: Sequence[str]) -> tuple[str, Window]:
        """Return the language at the start of a window, and the part of the window that has this language."""
        window, change = encoded.windows[index], first_change(slices)
        if change is None:
            return slices[0], window
        # The first seconds of a slice decide its language, so the change is inside the slice before.
        start_s = (change - 1) * SLICE_S
        steps = [start_s + n for n in range(int(SLICE_S) + 1)]
        found = self.decoder.detect_languages_at(encoded, index, steps, _CHANGE_SLICE_S)
        changed_s = next(
            (s for s, f in zip(steps, found, strict=True) if max(f, key=f.__getitem__) == slices[change]),
            start_s + SLICE_S,
        )
        search = int(max(changed_s - 2.5, 0.5) * SAMPLE_RATE)
        around = window.samples[search : int((changed_s + 1.0) * SAMPLE_RATE)]
        return slices[0], window.part(0, search + quietest(around))

    def _completed(self, first: DecodedWindow, encoded: EncodedWindows | None) -> WindowResult:
        best, pass_count = first, 1
        if is_suspicious(first):
            encoded = encoded or self.decoder.encode([first.window])
            [again] = self._decoded(encoded, [first.language], _NO_REPEAT_NGRAM_SIZE)
            best, pass_count = max(first, again, key=_quality), 2
            if is_suspicious(best):
                best, pass_count = max(best, self._in_halves(first), key=_quality), 3
        if _is_silence(best):
            best = replace(best, segments=(), end_s=best.window.duration_s)
        elif pass_count < _MAX_PASSES and (missing := uncovered(best)):
            best, pass_count = self._filled(best, missing), pass_count + 1
        return WindowResult(
            language=best.language,
            segments=best.segments,
            end_s=best.end_s,
            retried=pass_count > 1,
            # Speech for one detector and not for the other is probably music or noise.
            untranscribed=() if best.no_speech_prob > _MIN_SILENCE_PROBABILITY else tuple(uncovered(best)),
        )

    def _in_halves(self, first: DecodedWindow) -> DecodedWindow:
        window, length = first.window, len(first.window.samples)
        middle = length // 3 + quietest(window.samples[length // 3 : 2 * length // 3])
        return _joined(
            window,
            *(self._again(half, first.language) for half in (window.part(0, middle), window.part(middle, length))),
        )

    def _filled(self, best: DecodedWindow, missing: Iterable[Stretch]) -> DecodedWindow:
        segments = list(best.segments)
        for start_s, end_s in missing:
            part = best.window.part(int(start_s * SAMPLE_RATE), int(end_s * SAMPLE_RATE))
            found = self._again(part, best.language)
            if found.segments and not is_suspicious(found) and not _is_silence(found):
                segments = [s for s in segments if not start_s <= (s.start_s + s.end_s) / 2 <= end_s]
                segments += [shifted(segment, start_s) for segment in found.segments]
        return replace(best, segments=tuple(sorted(segments, key=lambda s: s.start_s)))

    def _again(self, window: Window, language: str) -> DecodedWindow:
        [decoded] = self._decoded(self.decoder.encode([window]), [language], _NO_REPEAT_NGRAM_SIZE)
        return decoded

    def _decoded(
        self, encoded: EncodedWindows, languages: Sequence[str], no_repeat_ngram_size: int = 0
    ) -> list[DecodedWindow]:
        """Decode windows, without the vocabulary where only that would be the text."""
        found = self.decoder.decode(encoded, languages, no_repeat_ngram_size=no_repeat_ngram_size)
        own = encoded if len(found) == 1 else None
        return [self._without_echo(decoded, own, no_repeat_ngram_size) for decoded in found]

    def _without_echo(
        self, decoded: DecodedWindow, encoded: EncodedWindows | None, no_repeat_ngram_size: int
    ) -> DecodedWindow:
        """Return a window, or its text without the vocabulary if a segment only repeats it.

        Where the vocabulary has changed the spelling alone, its spelling is kept.
        """
        terms = self.decoder.vocabulary
        if not any(is_echo(segment.text, terms) for segment in decoded.segments):
            return decoded
        [plain] = self.decoder.decode(
            encoded or self.decoder.encode([decoded.window]),
            [decoded.language],
            no_repeat_ngram_size=no_repeat_ngram_size,
            use_vocabulary=False,
        )
        return decoded if not _is_silence(plain) and is_same_speech(decoded.text, plain.text) else plain


def is_suspicious(decoded: DecodedWindow) -> bool:
    """Return True if a window repeats itself, is improbable, or has hardly a word in seconds of speech."""
    if _is_silence(decoded):
        return False
    return (
        decoded.compression_ratio > _MAX_COMPRESSION
        or decoded.avg_logprob < _MIN_LOGPROB
        or _is_thin(decoded.text, decoded.window.voiced_s(0.0, decoded.end_s))
    )


def uncovered(decoded: DecodedWindow) -> list[Stretch]:
    """Return the stretches up to the end of the window that have at least a second of speech and no segment.

    A long segment with hardly a word covers nothing.
    """
    window, reached, found = decoded.window, 0.0, []
    covering = [s for s in decoded.segments if not _is_thin(s.text, window.voiced_s(s.start_s, s.end_s))]
    for start_s, end_s in [*((s.start_s, s.end_s) for s in covering), (decoded.end_s, decoded.end_s)]:
        if window.voiced_s(reached, start_s) >= _MIN_UNCOVERED_S:
            found.append((reached, start_s))
        reached = max(reached, end_s)
    return found


def shifted(segment: WindowSegment, offset_s: float) -> WindowSegment:
    """Return the segment with its times, and those of its words, moved by `offset_s`."""
    words = segment.words
    return replace(
        segment,
        start_s=segment.start_s + offset_s,
        end_s=segment.end_s + offset_s,
        words=None
        if words is None
        else tuple(w.model_copy(update={"start": w.start + offset_s, "end": w.end + offset_s}) for w in words),
    )


def _chained(first: WindowResult, second: WindowResult) -> WindowResult:
    offset_s = first.end_s
    return replace(
        first,
        segments=first.segments + tuple(shifted(segment, offset_s) for segment in second.segments),
        end_s=offset_s + max(second.end_s, _MIN_REST / SAMPLE_RATE),
        retried=first.retried or second.retried,
        untranscribed=first.untranscribed
        + tuple((start_s + offset_s, end_s + offset_s) for start_s, end_s in second.untranscribed),
    )


def _joined(window: Window, left: DecodedWindow, right: DecodedWindow) -> DecodedWindow:
    offset_s = left.window.duration_s
    weights = [offset_s, right.window.duration_s]
    return replace(
        right,
        window=window,
        segments=left.segments + tuple(shifted(segment, offset_s) for segment in right.segments),
        end_s=offset_s + right.end_s,
        avg_logprob=float(np.average([left.avg_logprob, right.avg_logprob], weights=weights)),
        no_speech_prob=min(left.no_speech_prob, right.no_speech_prob),
        compression_ratio=max(left.compression_ratio, right.compression_ratio),
    )


def _quality(decoded: DecodedWindow) -> tuple[bool, int, float]:
    missing_s = sum(end_s - start_s for start_s, end_s in uncovered(decoded))
    return decoded.compression_ratio <= _MAX_COMPRESSION, round(decoded.end_s - missing_s), decoded.avg_logprob


def _is_silence(decoded: DecodedWindow) -> bool:
    return decoded.no_speech_prob > _MIN_SILENCE_PROBABILITY and decoded.avg_logprob < _MIN_LOGPROB


def _is_thin(text: str, voiced_s: float) -> bool:
    return voiced_s >= _MIN_THIN_S and word_count(text) < _MIN_WORDS_PER_S * voiced_s
