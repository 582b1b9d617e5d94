"""A real model transcribes windows that are cut beforehand to their ends, and several at a time."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import decode_audio

from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.decoder import DecodedWindow, Window, WindowDecoder
from smelt.processor.speech.model import load_model
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.vad import find_speech
from smelt.processor.speech.values import ModelOptions, SpeechOptions

pytestmark = [pytest.mark.real_speech, pytest.mark.timeout(900)]

MIN_REST_S = 0.5


def decoded(decoder: WindowDecoder, windows: list[Window]) -> list[DecodedWindow]:
    return decoder.decode(decoder.encode(windows), ["en"] * len(windows))


def words_of(window: DecodedWindow) -> list[str]:
    return [word.word for segment in window.segments for word in segment.words or ()]


def test_batched_window_continues_where_the_model_stopped(real_speech: Path, real_model: Path) -> None:
    model = load_model(ModelOptions(name=str(real_model), compute_type="int8"))
    speech = find_speech(decode_audio(str(real_speech / "ten.flac"))[: 120 * SAMPLE_RATE], max_clip_s=30)
    alone, batched = (WindowDecoder(model, SpeechOptions(), is_complete=is_complete) for is_complete in (False, True))
    whole = alone.window(speech)
    edges = [*speech.cuts(alone.window_samples), len(speech.samples)]
    windows = [whole.part(start, end) for start, end in pairwise(edges)]
    stopped = [
        (first, complete)
        for first, complete in zip(decoded(alone, windows), decoded(batched, windows), strict=True)
        if first.end_s < first.window.duration_s - MIN_REST_S
    ]
    assert stopped
    for first, complete in stopped:
        assert complete.end_s >= complete.window.duration_s - MIN_REST_S
        assert complete.text.startswith(first.text)
        assert len(complete.text) > len(first.text)
        times = [time_s for segment in complete.segments for time_s in (segment.start_s, segment.end_s)]
        assert times == sorted(times)


def test_windows_at_a_time_have_the_text_of_one_at_a_time(real_speech: Path, real_model: Path, tmp_path: Path) -> None:
    model = load_model(ModelOptions(name=str(real_model), compute_type="int8", cpu_threads=1, lanes=2))
    samples = decode_audio(str(real_speech / "ten.flac"))[: 150 * SAMPLE_RATE]
    path = tmp_path / "ten.pcm"
    path.write_bytes((samples * 32767).astype(np.int16).tobytes())
    together, alone = (
        [
            segment
            for passage in Transcriber(model, SpeechOptions(), is_alone=is_alone).transcribe(
                Recording(path, len(samples)), "en"
            )
            for segment in passage.segments
        ]
        for is_alone in (False, True)
    )
    assert together == alone
    assert len(together) > 10


def test_words_of_a_window_are_those_of_its_language_beside_a_window_of_another_one(
    real_speech: Path, real_model: Path
) -> None:
    model, languages = load_model(ModelOptions(name=str(real_model), compute_type="int8")), ["en", "ja"]
    decoder = WindowDecoder(model, SpeechOptions(word_times=True), is_complete=True)
    window = decoder.window(find_speech(decode_audio(str(real_speech / "jfk.flac")), max_clip_s=30))
    together = decoder.decode(decoder.encode([window, window]), languages)
    alone = [one for language in languages for one in decoder.decode(decoder.encode([window]), [language])]
    english, japanese = found = [words_of(one) for one in together]
    assert found == [words_of(one) for one in alone]
    assert all(word.startswith(" ") for word in english)
    # The model writes the language that it is given, here one without spaces.
    assert len(japanese) > 10
    assert not any(" " in word for word in japanese)
