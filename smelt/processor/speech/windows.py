"""Transcribes windows of speech: in the language of each one, and again where the first pass is suspicious.

A result depends only on the audio of its window and the options: never on earlier text, chance or time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.decoder import (
    MIN_UNCOVERED_S,
    DecodedWindow,
    EncodedWindows,
    Window,
    WindowDecoder,
    WindowSegment,
)
from smelt.processor.speech.languages import SLICE_S, first_change, spoken_language
from smelt.processor.speech.spans import quietest
from smelt.processor.speech.vocabulary import is_echo, is_same_speech
from smelt.transcripts.writing import word_count

RETRY_RULES: Final = 2
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
_MIN_REST: Final = SAMPLE_RATE // 2
# To find a change of language, slices of this length are examined in steps of a second.
_CHANGE_SLICE_S: Final = 6.0

Stretch = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """The transcript of a window; `untranscribed` are stretches of its speech without text."""

    language: str
    segments: tuple[WindowSegment, ...] = ()
    end_s: float = 0.0
    retried: bool = False
    untranscribed: tuple[Stretch, ...] = ()


@dataclass
class _Passes:
    """The best of the passes over a window; with `is_filled`, stretches without text were decoded again."""

    first: DecodedWindow
    best: DecodedWindow
    count: int = 1
    is_filled: bool = False

    def add(self, decoded: DecodedWindow) -> None:
        """Add the result of a further pass."""
        self.best = max(self.best, decoded, key=_quality)
        self.count += 1

    def result(self) -> WindowResult:
        """Return the transcript of the window."""
        best = self.best
        return WindowResult(
            language=best.language,
            segments=best.segments,
            end_s=best.end_s,
            retried=self.is_filled or self.count > 1,
            # Speech for one detector and not for the other is probably music or noise.
            untranscribed=() if best.no_speech_prob > _MIN_SILENCE_PROBABILITY else tuple(uncovered(best)),
        )


class WindowTranscriber:
    """Transcribes windows; `language` None detects the language of each window, with `main_language` if uncertain."""

    def __init__(self, decoder: WindowDecoder, *, main_language: str, language: str | None) -> None:
        self.decoder = decoder
        self._main_language = main_language
        self._language = language if decoder.is_multilingual else "en"

    def transcribe(self, windows: Sequence[Window]) -> list[WindowResult]:
        """Transcribe some windows; a window ends where its language changes."""
        encoded = self.decoder.encode(windows)
        if self._language is not None:
            return self._transcribed(encoded, [self._language] * len(windows))
        found = [self._first_language(encoded, n, slices) for n, slices in enumerate(self._slices(encoded))]
        whole = [n for n, (_, part) in enumerate(found) if part is windows[n]]
        cut = [n for n in range(len(windows)) if n not in whole]
        results: dict[int, WindowResult] = {}
        if whole:
            languages = [found[n][0] for n in whole]
            results |= zip(whole, self._transcribed(encoded.selected(whole), languages), strict=True)
        results |= zip(cut, self._to_their_ends([found[n] for n in cut]), strict=True)
        return [results[n] for n in range(len(windows))]

    def _to_their_ends(self, parts: Sequence[tuple[str, Window]]) -> list[WindowResult]:
        """Transcribe parts of windows, each before a change of language: what is left of a part has the same one."""
        results = [WindowResult(language=language) for language, _ in parts]
        while rest := [n for n, (_, part) in enumerate(parts) if _has_rest(results[n], part)]:
            encoded = self.decoder.encode([_part(parts[n][1], results[n].end_s, parts[n][1].duration_s) for n in rest])
            for n, result in zip(rest, self._transcribed(encoded, [parts[n][0] for n in rest]), strict=True):
                results[n] = _chained(results[n], result)
        return [replace(result, end_s=part.duration_s) for result, (_, part) in zip(results, parts, strict=True)]

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

    def _transcribed(self, encoded: EncodedWindows, languages: Sequence[str]) -> list[WindowResult]:
        """Decode windows, then again those that are suspicious or lack text; a pass takes all windows at a time."""
        windows = [_Passes(first, first) for first in self._decoded(encoded, languages)]
        suspicious = [n for n, window in enumerate(windows) if is_suspicious(window.best)]
        if suspicious:
            again = self._decoded(
                encoded.selected(suspicious), [languages[n] for n in suspicious], _NO_REPEAT_NGRAM_SIZE
            )
            for n, decoded in zip(suspicious, again, strict=True):
                windows[n].add(decoded)
            self._decode_halves([windows[n] for n in suspicious if is_suspicious(windows[n].best)])
        for window in windows:
            if _is_silence(window.best):
                window.best = replace(window.best, segments=(), end_s=window.best.window.duration_s)
        self._fill([window for window in windows if window.count < _MAX_PASSES and not _is_silence(window.best)])
        return [window.result() for window in windows]

    def _decode_halves(self, windows: Sequence[_Passes]) -> None:
        """Decode windows again, each cut in its longest pause."""
        halves = [half for window in windows for half in _halves(window.first.window)]
        decoded = iter(self._again(halves, [window.first.language for window in windows for _ in range(2)]))
        for window in windows:
            window.add(_joined(window.first.window, next(decoded), next(decoded)))

    def _fill(self, windows: Sequence[_Passes]) -> None:
        """Decode the stretches of windows without text again, each by itself."""
        missing = [(window, stretch) for window in windows for stretch in uncovered(window.best)]
        decoded = self._again(
            [_part(window.best.window, *stretch) for window, stretch in missing],
            [window.best.language for window, _ in missing],
        )
        for (window, stretch), found in zip(missing, decoded, strict=True):
            window.is_filled = True
            if found.segments and not is_suspicious(found) and not _is_silence(found):
                window.best = _with_segments(window.best, stretch, found.segments)

    def _again(self, windows: Sequence[Window], languages: Sequence[str]) -> list[DecodedWindow]:
        """Encode and decode parts of windows, at most as many at a time as a batch has: memory limits its size."""
        size = self.decoder.batch_size
        return [
            decoded
            for at in range(0, len(windows), size)
            for decoded in self._decoded(
                self.decoder.encode(windows[at : at + size]), languages[at : at + size], _NO_REPEAT_NGRAM_SIZE
            )
        ]

    def _decoded(
        self, encoded: EncodedWindows, languages: Sequence[str], no_repeat_ngram_size: int = 0
    ) -> list[DecodedWindow]:
        """Decode windows, without the vocabulary where a segment only repeats it.

        Where the vocabulary has changed the spelling alone, its spelling is kept.
        """
        found = self.decoder.decode(encoded, languages, no_repeat_ngram_size=no_repeat_ngram_size)
        terms = self.decoder.vocabulary
        echoes = [n for n, one in enumerate(found) if any(is_echo(segment.text, terms) for segment in one.segments)]
        if not echoes:
            return found
        without = self.decoder.decode(
            encoded.selected(echoes),
            [languages[n] for n in echoes],
            no_repeat_ngram_size=no_repeat_ngram_size,
            use_vocabulary=False,
        )
        for n, plain in zip(echoes, without, strict=True):
            if _is_silence(plain) or not is_same_speech(found[n].text, plain.text):
                found[n] = plain
        return found


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
        if window.voiced_s(reached, start_s) >= MIN_UNCOVERED_S:
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


def _has_rest(result: WindowResult, part: Window) -> bool:
    return int(result.end_s * SAMPLE_RATE) < len(part.samples) - _MIN_REST


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


def _part(window: Window, start_s: float, end_s: float) -> Window:
    return window.part(int(start_s * SAMPLE_RATE), int(end_s * SAMPLE_RATE))


def _halves(window: Window) -> tuple[Window, Window]:
    length = len(window.samples)
    middle = length // 3 + quietest(window.samples[length // 3 : 2 * length // 3])
    return window.part(0, middle), window.part(middle, length)


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


def _with_segments(decoded: DecodedWindow, stretch: Stretch, segments: Sequence[WindowSegment]) -> DecodedWindow:
    """Return a window with the segments of a stretch, instead of those whose middle is inside."""
    start_s, end_s = stretch
    kept = [s for s in decoded.segments if not start_s <= (s.start_s + s.end_s) / 2 <= end_s]
    found = (shifted(segment, start_s) for segment in segments)
    return replace(decoded, segments=tuple(sorted([*kept, *found], key=lambda s: s.start_s)))


def _quality(decoded: DecodedWindow) -> tuple[bool, int, float]:
    missing_s = sum(end_s - start_s for start_s, end_s in uncovered(decoded))
    return decoded.compression_ratio <= _MAX_COMPRESSION, round(decoded.end_s - missing_s), decoded.avg_logprob


def _is_silence(decoded: DecodedWindow) -> bool:
    return decoded.no_speech_prob > _MIN_SILENCE_PROBABILITY and decoded.avg_logprob < _MIN_LOGPROB


def _is_thin(text: str, voiced_s: float) -> bool:
    return voiced_s >= _MIN_THIN_S and word_count(text) < _MIN_WORDS_PER_S * voiced_s
