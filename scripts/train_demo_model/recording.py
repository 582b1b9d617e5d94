"""Recordings of several voices, with the times of every utterance and word."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from espeak import Espeak, Voice
from numpy.typing import NDArray

Line = tuple[Voice, float, str]  # the voice, the silence before in seconds, the text


@dataclass(frozen=True)
class Word:
    """A spoken word; times are in seconds of the recording."""

    start: float
    end: float
    word: str


@dataclass(frozen=True)
class Utterance:
    """A spoken sentence; times are in seconds of the recording."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Recording:
    """Mono samples with their utterances."""

    samples: NDArray[np.int16]
    sample_rate: int
    utterances: tuple[Utterance, ...]

    @property
    def text(self) -> str:
        """The sentences, one per line."""
        return "".join(f"{utterance.text}\n" for utterance in self.utterances)


def record(espeak: Espeak, lines: Iterable[Line], *, max_s: float = float("inf"), closing_s: float = 0.6) -> Recording:
    """Synthesize the lines one after another, until they end or the next one would exceed `max_s`."""
    rate = espeak.sample_rate
    parts: list[NDArray[np.int16]] = []
    utterances: list[Utterance] = []
    length = 0
    for voice, pause_s, text in lines:
        speech = espeak.speak(text, voice)
        start = length + int(pause_s * rate)
        end = start + len(speech.samples)
        if end / rate + closing_s > max_s:
            break
        bounds = [start / rate + t for t in (*speech.word_starts, speech.duration_s)]
        words = zip(bounds, bounds[1:], text.split(), strict=False)
        spoken = tuple(Word(round(begin, 3), round(until, 3), word) for begin, until, word in words)
        utterances.append(Utterance(round(start / rate, 3), round(end / rate, 3), text, spoken))
        parts += [np.zeros(start - length, np.int16), speech.samples]
        length = end
    parts.append(np.zeros(int(closing_s * rate), np.int16))
    return Recording(np.concatenate(parts), rate, tuple(utterances))


def conversation(draw: random.Random, voices: list[Voice], sentence: Callable[[random.Random], str]) -> Iterator[Line]:
    """Yield the lines of an endless meeting; after each line another voice may take over."""
    pause_s, voice = draw.uniform(0.2, 2.0), voices[0]
    while True:
        yield voice, pause_s, sentence(draw)
        voice = draw.choice(voices) if draw.random() < 0.5 else voice
        kind = draw.random()
        pause_s = draw.uniform(0.2, 1.0) if kind < 0.8 else draw.uniform(1, 2) if kind < 0.95 else draw.uniform(2, 5)


def write_times(recording: Recording, path: Path) -> None:
    """Write the times of each utterance and each word, in seconds, as JSON."""
    times = {"utterances": [asdict(utterance) for utterance in recording.utterances]}
    path.write_text(json.dumps(times, separators=(",", ":")).replace('{"start"', '\n{"start"') + "\n")
