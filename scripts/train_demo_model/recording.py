"""Recordings of several voices, with the times of every utterance and word."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from espeak import Espeak, Voice
from numpy.typing import NDArray

Line = tuple[Voice, float, str]  # who, after how many seconds of silence, says what


@dataclass(frozen=True)
class Word:
    """When a word is spoken, in seconds of the recording."""

    start: float
    end: float
    word: str


@dataclass(frozen=True)
class Utterance:
    """When a sentence is spoken, in seconds of the recording."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Recording:
    """Mono sound and what is said in it."""

    samples: NDArray[np.int16]
    sample_rate: int
    utterances: tuple[Utterance, ...]

    @property
    def text(self) -> str:
        """One sentence a line, ready to be written beside the audio."""
        return "".join(f"{utterance.text}\n" for utterance in self.utterances)


def record(
    espeak: Espeak, lines: Iterable[Line], *, at_most_s: float = float("inf"), closing_s: float = 0.6
) -> Recording:
    """Speak the lines one after the other, until they or the time end."""
    rate = espeak.sample_rate
    parts: list[NDArray[np.int16]] = []
    utterances: list[Utterance] = []
    length = 0
    for voice, pause_s, text in lines:
        speech = espeak.speak(text, voice)
        start = length + int(pause_s * rate)
        end = start + len(speech.samples)
        if end / rate + closing_s > at_most_s:
            break
        bounds = [start / rate + t for t in (*speech.word_starts, speech.duration_s)]
        words = zip(bounds, bounds[1:], text.split(), strict=False)
        spoken = tuple(Word(round(begin, 3), round(until, 3), word) for begin, until, word in words)
        utterances.append(Utterance(round(start / rate, 3), round(end / rate, 3), text, spoken))
        parts += [np.zeros(start - length, np.int16), speech.samples]
        length = end
    parts.append(np.zeros(int(closing_s * rate), np.int16))
    return Recording(np.concatenate(parts), rate, tuple(utterances))


def conversation(draw: random.Random, voices: list[Voice], say: Callable[[random.Random], str]) -> Iterator[Line]:
    """A meeting without end: somebody says one or two things, then somebody else may."""
    pause_s, voice = draw.uniform(0.2, 2.0), voices[0]
    while True:
        yield voice, pause_s, say(draw)
        voice = draw.choice(voices) if draw.random() < 0.5 else voice
        kind = draw.random()
        pause_s = draw.uniform(0.2, 1.0) if kind < 0.8 else draw.uniform(1, 2) if kind < 0.95 else draw.uniform(2, 5)


def write_truth(recording: Recording, path: Path) -> None:
    """Write when each utterance and each word is spoken, in seconds."""
    truth = {"utterances": [asdict(utterance) for utterance in recording.utterances]}
    path.write_text(json.dumps(truth, separators=(",", ":")).replace('{"start"', '\n{"start"') + "\n")
