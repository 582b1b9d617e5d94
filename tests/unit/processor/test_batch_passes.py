"""The passes over the windows of a batch take all windows at a time: calls of the real model are counted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ctranslate2.models import Whisper
from faster_whisper import WhisperModel

from smelt.processor.media.recording import SAMPLE_RATE, Recording, Samples
from smelt.processor.speech.decoder import Window, WindowDecoder
from smelt.processor.speech.vad import Clip, SpeechAudio
from smelt.processor.speech.values import SpeechOptions
from smelt.processor.speech.windows import WindowTranscriber

WINDOW = 20 * SAMPLE_RATE
COUNT = 3


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Record the number of windows of each call of the encoder and of the decoder."""
    recorded: list[tuple[str, int]] = []
    encode, generate = WhisperModel.encode, Whisper.generate

    def encoding(self: WhisperModel, features: np.ndarray) -> object:
        recorded.append(("encode", len(features)))
        return encode(self, features)

    def generating(self: Whisper, features: object, prompts: Sequence[object], **options: object) -> object:
        recorded.append(("generate", len(prompts)))
        return generate(self, features, prompts, **options)

    monkeypatch.setattr(WhisperModel, "encode", encoding)
    monkeypatch.setattr(Whisper, "generate", generating)
    return recorded


def cut(decoder: WindowDecoder, samples: Samples) -> list[Window]:
    """Return windows of samples, all of which are taken for speech."""
    everything = [Clip(0, len(samples))]
    whole = decoder.window(SpeechAudio(samples, everything, everything))
    return [whole.part(start, start + WINDOW) for start in range(0, len(samples), WINDOW)]


def batch_decoder(model: WhisperModel, batch_size: int) -> WindowDecoder:
    return WindowDecoder(model, SpeechOptions(batch_size=batch_size), is_complete=True)


@pytest.mark.parametrize(("batch_size", "halves"), [(8, [6]), (4, [4, 2]), (1, [1] * 6)])
def test_suspicious_windows_are_decoded_again_in_batches(
    batch_size: int, halves: list[int], demo_model: WhisperModel, calls: list[tuple[str, int]]
) -> None:
    decoder = batch_decoder(demo_model, batch_size)
    transcriber = WindowTranscriber(decoder, main_language="en", language="en")
    noise = np.random.default_rng(0).normal(0, 0.1, COUNT * WINDOW).astype(np.float32)
    results = transcriber.transcribe(cut(decoder, noise))
    assert all(result.retried for result in results)
    # The first pass, one without repetition from the same output of the encoder, and one over the halves.
    assert [size for name, size in calls if name == "encode"] == [COUNT, *halves]
    assert [size for name, size in calls if name == "generate"] == [COUNT, COUNT, *halves]


def test_rest_with_less_than_a_second_of_speech_that_the_model_does_not_continue_has_no_text(
    demo_model: WhisperModel, standup: Recording
) -> None:
    decoder = batch_decoder(demo_model, 8)
    windows = cut(decoder, standup.read(0, COUNT * WINDOW))
    silent = [replace(window, voiced=np.zeros_like(window.voiced)) for window in windows]
    spoken_end_s, silent_end_s = (
        [one.end_s for one in decoder.decode(decoder.encode(given), ["en"] * COUNT)] for given in (windows, silent)
    )
    assert min(spoken_end_s) < 10
    assert silent_end_s == [window.duration_s for window in windows]
