"""Windows of several languages in a batch: the words of each one are aligned and split by the rules of its language."""

from collections.abc import Sequence
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer

from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.decoder import EncodedWindows, Window, WindowDecoder
from smelt.processor.speech.values import SpeechOptions

LENGTH_S = 2
TICKS = LENGTH_S * 50
ENGLISH = [" we", " meet", " tomorrow"]
WORDS = {"en": ENGLISH, "zh": ["我", "们", "明", "天", "见", "面"], "zh to en": ENGLISH}


class ScriptedNetwork:
    """Generates the words of the language that a prompt has, and records the windows of each alignment."""

    is_multilingual = True

    def __init__(self, tokenizers: dict[str, Tokenizer]) -> None:
        self._tokenizers = tokenizers
        self.aligned: list[tuple[str, list[int]]] = []

    def generate(self, _: StorageView, prompts: Sequence[Sequence[int]], **__: object) -> list[Any]:
        return [self._generated(self._language_of(prompt)) for prompt in prompts]

    def align(
        self, output: StorageView, start: Sequence[int], texts: Sequence[Sequence[int]], *_: object, **__: object
    ) -> list[Any]:
        """Return one tick for each token."""
        self.aligned.append((self._language_of(start), [int(number) for number in np.asarray(output).flat]))
        return [
            SimpleNamespace(text_token_probs=[1.0] * len(text), alignments=[(n, n) for n in range(len(text) + 1)])
            for text in texts
        ]

    def _language_of(self, start: Sequence[int]) -> str:
        [language] = [code for code, tokenizer in self._tokenizers.items() if tokenizer.sot_sequence == list(start)]
        return language

    def _generated(self, language: str) -> Any:
        tokenizer = self._tokenizers[language]
        begin = tokenizer.timestamp_begin
        tokens = [begin, *tokenizer.encode("".join(WORDS[language])), begin + TICKS]
        return SimpleNamespace(sequences_ids=[tokens], scores=[-0.1], no_speech_prob=0.0)


@pytest.fixture
def model(demo_model: WhisperModel) -> WhisperModel:
    """Return the model in the package with another language, and a network that computes nothing."""
    made = copy(demo_model)
    made.hf_tokenizer = type(demo_model.hf_tokenizer).from_str(demo_model.hf_tokenizer.to_str())
    made.hf_tokenizer.add_special_tokens(["<|zh|>"])
    tasks = {"en": ("transcribe", "en"), "zh": ("transcribe", "zh"), "zh to en": ("translate", "zh")}
    made.model = ScriptedNetwork({name: Tokenizer(made.hf_tokenizer, True, *task) for name, task in tasks.items()})
    return made


def encoded(*pauses_s: float | None) -> EncodedWindows:
    """Return windows with a pause at these times; the output of the encoder for each one is its number."""
    samples, frames = np.zeros(LENGTH_S * SAMPLE_RATE, np.float32), LENGTH_S * 100
    features, voiced = np.zeros((80, frames), np.float32), np.ones(frames, np.bool_)
    windows = [Window(samples, features, voiced, () if s is None else (int(s * SAMPLE_RATE),)) for s in pauses_s]
    return EncodedWindows(StorageView.from_array(np.arange(len(windows), dtype=np.float32)[:, None, None]), windows)


@pytest.mark.parametrize(
    ("languages", "aligned"),
    [
        (["en", "zh"], [("en", [0]), ("zh", [1])]),
        (["zh", "en", "zh", "zh", "en"], [("zh", [0, 2, 3]), ("en", [1, 4])]),
        (["zh", "zh"], [("zh", [0, 1])]),
    ],
    ids=["one window each", "several windows each", "one language"],
)
def test_words_of_a_window_are_aligned_and_split_in_its_language(
    languages: list[str], aligned: list[tuple[str, list[int]]], model: WhisperModel
) -> None:
    decoder = WindowDecoder(model, SpeechOptions(word_times=True, batch_size=8))
    results = decoder.decode(encoded(*[None] * len(languages)), languages)
    assert [[word.word for segment in result.segments for word in segment.words or ()] for result in results] == [
        WORDS[language] for language in languages
    ]
    assert model.model.aligned == aligned


def test_words_of_a_translation_are_split_in_english(model: WhisperModel) -> None:
    decoder = WindowDecoder(model, SpeechOptions(word_times=True, task="translate"))
    [result] = decoder.decode(encoded(None), ["zh"])
    assert [word.word for segment in result.segments for word in segment.words or ()] == ENGLISH
    assert model.model.aligned == [("zh to en", [0])]
    assert result.language == "zh"


def test_segment_over_a_pause_is_aligned_in_its_language_behind_a_window_without_a_pause(model: WhisperModel) -> None:
    decoder = WindowDecoder(model, SpeechOptions(batch_size=8))
    decoder.decode(encoded(None, 1.0), ["en", "zh"])
    assert model.model.aligned == [("zh", [1])]
