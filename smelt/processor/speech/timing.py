"""Times a window with several numbers of threads and lanes, in the model child."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.decoder import Window, WindowDecoder
from smelt.processor.speech.model import load_model
from smelt.processor.speech.shared import check_recording
from smelt.processor.speech.vad import Clip, SpeechAudio
from smelt.processor.speech.values import Measurement, ModelOptions, SpeechOptions

# Enough speech for the share that decoding has in a full window.
_SPEECH_S: Final = 20


def timed(models: Sequence[ModelOptions]) -> Iterator[Measurement]:
    """Load each model, and time one window alone and one in each of its lanes."""
    check = check_recording()
    samples = np.resize(check.read(0, check.sample_count), _SPEECH_S * SAMPLE_RATE)
    for options in models:
        yield _measurement(options, SpeechAudio(samples, [], [Clip(0, len(samples))]))


def _measurement(options: ModelOptions, speech: SpeechAudio) -> Measurement:
    decoder = WindowDecoder(load_model(options), SpeechOptions())
    window = decoder.window(speech)
    # The first windows warm up.
    _timed(decoder, window, options.lanes)
    one_s, all_s = _timed(decoder, window, 1), _timed(decoder, window, options.lanes)
    return Measurement(cpu_threads=options.cpu_threads, lanes=options.lanes, one_s=one_s, all_s=all_s)


def _timed(decoder: WindowDecoder, window: Window, count: int) -> float:
    """Return the seconds to transcribe a window `count` times at once."""
    started_s = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(lambda _: decoder.decode(decoder.encode([window]), ["en"]), range(count)))
    return time.perf_counter() - started_s
