"""A suspicious window is transcribed again, deterministically; a window ends where its language changes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from ctranslate2 import StorageView

from smelt.contract.state import Word
from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.decoder import DecodedWindow, EncodedWindows, Window, WindowSegment
from smelt.processor.speech.windows import WindowResult, WindowTranscriber

TEXT = "we talk about the plan for the next week and who will do it "


def window_of(seconds: float, voiced: bool = True) -> Window:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    frames = round(seconds * 100)
    return Window(samples, np.zeros((80, frames), np.float32), np.full(frames, voiced), ())


def decoded(
    window: Window, *parts: tuple[float, float, str], end_s: float | None = None, language: str = "en", **changed: float
) -> DecodedWindow:
    statistics = {"avg_logprob": -0.3, "no_speech_prob": 0.1, "compression_ratio": 1.5} | changed
    segments = tuple(WindowSegment(start_s=a, end_s=b, text=text, **statistics) for a, b, text in parts)
    end_s = window.duration_s if end_s is None else end_s
    return DecodedWindow(window=window, language=language, segments=segments, end_s=end_s, **statistics)


class ScriptedDecoder:
    """Returns the result of a script for each pass: (window, language, no_repeat_ngram_size) to a result."""

    is_multilingual = True
    vocabulary: tuple[str, ...] = ()
    batch_size = 8

    def __init__(
        self, script: Callable[[Window, str, int], DecodedWindow], languages: Callable[[float], str] = lambda _: "en"
    ) -> None:
        self.script = script
        self.languages = languages
        self.passes: list[tuple[float, str, int]] = []
        # The number of windows of each call.
        self.encoded: list[int] = []
        self.decoded: list[int] = []

    def encode(self, windows: Sequence[Window]) -> EncodedWindows:
        self.encoded.append(len(windows))
        return EncodedWindows(StorageView.from_array(np.zeros((len(windows), 1, 1), np.float32)), windows)

    def decode(
        self, encoded: EncodedWindows, languages: Sequence[str], *, no_repeat_ngram_size: int = 0
    ) -> list[DecodedWindow]:
        self.decoded.append(len(languages))
        self.passes += [
            (window.duration_s, language, no_repeat_ngram_size)
            for window, language in zip(encoded.windows, languages, strict=True)
        ]
        return [
            self.script(window, language, no_repeat_ngram_size)
            for window, language in zip(encoded.windows, languages, strict=True)
        ]

    def detect_languages(self, encoded: EncodedWindows) -> list[list[dict[str, float]]]:
        return [
            [{self.languages(start): 0.99} for start in range(0, max(1, round(window.duration_s)), 10)]
            for window in encoded.windows
        ]

    def detect_languages_at(self, _: EncodedWindows, index: int, starts_s: Sequence[float], __: float) -> Any:
        return [{self.languages(start_s): 0.99} for start_s in starts_s]


def transcribe(decoder: ScriptedDecoder, *windows: Window, language: str | None = "en") -> list[WindowResult]:
    transcriber = WindowTranscriber(decoder, main_language="en", language=language)  # type: ignore[arg-type]
    return transcriber.transcribe(windows)


def texts(result: WindowResult) -> list[str]:
    return [segment.text for segment in result.segments]


def test_good_window_is_decoded_once() -> None:
    decoder = ScriptedDecoder(lambda window, *_: decoded(window, (0, 30, TEXT * 4)))
    [result] = transcribe(decoder, window_of(30))
    assert decoder.passes == [(30, "en", 0)]
    assert (texts(result), result.retried, result.untranscribed) == ([TEXT * 4], False, ())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"compression_ratio": 9.0}, id="loop"),
        pytest.param({"avg_logprob": -1.4}, id="improbable"),
    ],
)
def test_suspicious_window_is_decoded_again_without_repetition(bad: dict[str, float]) -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        good = decoded(window, (0, 30, TEXT * 4))
        return good if ngram else decoded(window, (0, 30, "yeah " * 99), **bad)

    decoder = ScriptedDecoder(script)
    [result] = transcribe(decoder, window_of(30))
    assert decoder.passes == [(30, "en", 0), (30, "en", 3)]
    assert (texts(result), result.retried) == ([TEXT * 4], True)


def test_window_with_hardly_a_word_is_decoded_in_halves_at_last() -> None:
    def script(window: Window, _: str, __: int) -> DecodedWindow:
        text = TEXT * 2 if window.duration_s < 20 else "Legislature."
        return decoded(window, (0, window.duration_s, text))

    decoder = ScriptedDecoder(script)
    [result] = transcribe(decoder, window_of(30))
    assert [ngram for _, _, ngram in decoder.passes] == [0, 3, 3, 3]
    assert sum(length_s for length_s, _, _ in decoder.passes[2:]) == pytest.approx(30)
    assert texts(result) == [TEXT * 2, TEXT * 2]
    assert result.segments[1].start_s == pytest.approx(result.segments[0].end_s)
    assert (result.retried, result.untranscribed, result.end_s) == (True, (), 30)


def test_result_without_a_loop_is_better_than_one_with_more_text() -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        if ngram and window.duration_s > 20:
            return decoded(window, (0, 10, TEXT), avg_logprob=-1.2, end_s=30)
        return decoded(window, (0, window.duration_s, "yeah " * 99), compression_ratio=9.0)

    [result] = transcribe(ScriptedDecoder(script), window_of(30))
    assert texts(result) == [TEXT]
    assert result.untranscribed == ((10, 30),)


@pytest.mark.parametrize("response", [TEXT * 3, "", "yeah " * 99])
def test_speech_without_text_is_decoded_again_and_reported_if_it_stays_without(response: str) -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        if ngram:
            looping = response.startswith("yeah")
            parts = [(0.0, window.duration_s, response)] if response else []
            return decoded(window, *parts, compression_ratio=9.0 if looping else 1.5)
        return decoded(window, (0, 10, TEXT), (22, 30, TEXT))

    decoder = ScriptedDecoder(script)
    [result] = transcribe(decoder, window_of(30))
    assert decoder.passes[1:] == [(12, "en", 3)]
    assert result.retried
    if response == TEXT * 3:
        assert [(s.start_s, s.end_s) for s in result.segments] == [(0, 10), (10, 22), (22, 30)]
        assert result.untranscribed == ()
    else:
        assert texts(result) == [TEXT, TEXT]
        assert result.untranscribed == ((10, 22),)


def test_long_segment_with_hardly_a_word_is_replaced() -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        if ngram:
            return decoded(window, (0, window.duration_s, TEXT))
        return decoded(window, (0, 10, TEXT * 2), (10, 22, "of each other."), (22, 30, TEXT * 2))

    [result] = transcribe(ScriptedDecoder(script), window_of(30))
    assert texts(result) == [TEXT * 2, TEXT, TEXT * 2]


def test_pause_between_segments_is_not_missing_text() -> None:
    decoder = ScriptedDecoder(lambda window, *_: decoded(window, (0, 10, TEXT), (22, 30, TEXT)))
    [result] = transcribe(decoder, window_of(30, voiced=False))
    assert (len(decoder.passes), result.untranscribed) == (1, ())


def test_window_that_the_model_takes_for_silence_has_no_text() -> None:
    script: Callable[..., DecodedWindow] = lambda window, *_: decoded(  # noqa: E731
        window, (0, 2, "Thank you."), avg_logprob=-1.5, no_speech_prob=0.9, end_s=2
    )
    decoder = ScriptedDecoder(script)
    [result] = transcribe(decoder, window_of(30))
    assert (len(decoder.passes), result.segments, result.end_s, result.untranscribed) == (1, (), 30, ())


def test_language_change_ends_a_window_and_completes_its_part() -> None:
    def script(window: Window, language: str, _: int) -> DecodedWindow:
        end_s = window.duration_s - 3 if window.duration_s > 10 else window.duration_s
        return decoded(window, (0, end_s, TEXT * 3), end_s=end_s, language=language)

    decoder = ScriptedDecoder(script, lambda start_s: "de" if start_s < 14 else "en")
    [result] = transcribe(decoder, window_of(30), language=None)
    assert result.language == "de"
    assert 11 <= result.end_s <= 15.5
    # The rest up to the change has the same language, although a window of 3 s has no certain one.
    assert [language for _, language, _ in decoder.passes] == ["de", "de"]
    assert result.segments[-1].end_s == pytest.approx(result.end_s)


def test_named_language_is_not_detected() -> None:
    decoder = ScriptedDecoder(
        lambda window, language, _: decoded(window, (0, 30, TEXT * 4), language=language), lambda _: "de"
    )
    [result] = transcribe(decoder, window_of(30), language="es")
    assert (result.language, result.end_s, decoder.passes) == ("es", 30, [(30, "es", 0)])


def test_batch_repairs_only_its_suspicious_window() -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        if window.duration_s == 20 and not ngram:
            return decoded(window, (0, 20, "yeah " * 99), compression_ratio=9.0)
        return decoded(window, (0, window.duration_s, TEXT * 3))

    decoder = ScriptedDecoder(script)
    first, second = transcribe(decoder, window_of(30), window_of(20))
    assert decoder.passes == [(30, "en", 0), (20, "en", 0), (20, "en", 3)]
    assert (first.retried, second.retried) == (False, True)


def calls(decoder: ScriptedDecoder) -> tuple[list[int], list[int]]:
    return decoder.encoded, decoder.decoded


def test_suspicious_windows_of_a_batch_are_decoded_again_at_a_time_with_the_same_output_of_the_encoder() -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        is_loop = window.duration_s != 30 and not ngram
        return decoded(window, (0, window.duration_s, TEXT * 3), compression_ratio=9.0 if is_loop else 1.5)

    decoder = ScriptedDecoder(script)
    results = transcribe(decoder, window_of(20), window_of(30), window_of(22))
    assert calls(decoder) == ([3], [3, 2])
    assert [result.retried for result in results] == [True, False, True]
    assert [result.end_s for result in results] == [20, 30, 22]


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [4]), (3, [3, 1]), (1, [1, 1, 1, 1])])
def test_halves_of_a_batch_are_decoded_in_batches(batch_size: int, sizes: list[int]) -> None:
    def script(window: Window, _: str, __: int) -> DecodedWindow:
        text = TEXT * 2 if window.duration_s < 20 else "Legislature."
        return decoded(window, (0, window.duration_s, f"{text}{window.duration_s}"))

    decoder = ScriptedDecoder(script)
    decoder.batch_size = batch_size
    results = transcribe(decoder, window_of(30), window_of(24))
    assert calls(decoder) == ([2, *sizes], [2, 2, *sizes])
    for result, length_s in zip(results, (30, 24), strict=True):
        assert [segment.text for segment in result.segments] == [
            f"{TEXT * 2}{segment.end_s - segment.start_s}" for segment in result.segments
        ]
        assert (len(result.segments), result.segments[-1].end_s) == (2, length_s)


def test_stretches_without_text_of_a_batch_are_decoded_at_a_time() -> None:
    def script(window: Window, _: str, ngram: int) -> DecodedWindow:
        if ngram:
            return decoded(window, (0, window.duration_s, f"{TEXT}{window.duration_s}"))
        if window.duration_s == 30:
            return decoded(window, (2, 10, TEXT), (22, 30, TEXT))
        return decoded(window, (0, window.duration_s - 5, TEXT * 2))

    decoder = ScriptedDecoder(script)
    first, second = transcribe(decoder, window_of(30), window_of(28))
    assert calls(decoder) == ([2, 3], [2, 3])
    assert texts(first) == [f"{TEXT}2.0", TEXT, f"{TEXT}12.0", TEXT]
    assert texts(second) == [TEXT * 2, f"{TEXT}5.0"]


def test_window_of_a_batch_whose_language_changes_is_transcribed_beside_the_others() -> None:
    def script(window: Window, language: str, _: int) -> DecodedWindow:
        end_s = window.duration_s - 3 if 10 < window.duration_s < 20 else window.duration_s
        return decoded(window, (0, end_s, TEXT * 3), end_s=end_s, language=language)

    decoder = ScriptedDecoder(script, lambda start_s: "de" if start_s < 14 else "en")
    changing, short, other = transcribe(decoder, window_of(30), window_of(9), window_of(28), language=None)
    # The window without a change, the parts before a change, and what is left of them.
    assert calls(decoder) == ([3, 2, 2], [1, 2, 2])
    assert [result.language for result in (changing, short, other)] == ["de", "de", "de"]
    assert short.end_s == 9
    for result in (changing, other):
        assert 11 <= result.end_s <= 15.5
        assert result.segments[-1].end_s == pytest.approx(result.end_s)


def test_words_move_with_their_segment() -> None:
    def script(window: Window, _: str, __: int) -> DecodedWindow:
        result = decoded(window, (0, window.duration_s, TEXT * 2 if window.duration_s < 20 else "Legislature."))
        word = Word(word=" we", start=1.0, end=2.0, probability=0.5)
        object.__setattr__(result.segments[0], "words", (word,))
        return result

    [result] = transcribe(ScriptedDecoder(script), window_of(30))
    second = result.segments[1]
    assert second.words is not None
    assert second.words[0].start == pytest.approx(second.start_s + 1)
