"""The test set of the model: sentences and voices that occur in no training utterance."""

import random
import wave
from dataclasses import dataclass
from pathlib import Path

import grammar
import numpy as np
from espeak import Espeak
from numpy.typing import NDArray
from recording import Recording, conversation, record
from voices import HELD_OUT_PAIRS, HELD_OUT_VARIANTS, held_out_voice

QUIET_S = 20
_NOISE_DB = (None, -55, None, -45)


@dataclass(frozen=True)
class TestRecording:
    """A recording on disk with its utterances."""

    path: Path
    recording: Recording

    @property
    def text(self) -> str:
        return " ".join(utterance.text for utterance in self.recording.utterances)


class TestSet:
    """Makes recordings like those of users: files at the rate of espeak-ng, some with noise, at different levels."""

    def __init__(self, folder: Path, seed: int, trained_texts: set[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._trained = folder, trained_texts
        self._draw, self._noise, self._espeak = random.Random(seed), np.random.default_rng(seed), Espeak()

    def singles(self, count: int) -> list[TestRecording]:
        """Make recordings of one utterance, by pairs of accent and variant that training does not combine."""
        return [self._single(f"single{number:03d}", HELD_OUT_PAIRS) for number in range(count)]

    def unseen(self, count: int) -> list[TestRecording]:
        """Make recordings of one utterance, by variants that occur in no training utterance."""
        return [self._single(f"unseen{number:03d}", HELD_OUT_VARIANTS) for number in range(count)]

    def meetings(self, count: int) -> list[TestRecording]:
        """Make recordings of three voices and 60 to 120 seconds; every second one has noise."""
        return [self._meeting(f"meeting{number:02d}", _NOISE_DB[number % len(_NOISE_DB)]) for number in range(count)]

    def quiet(self) -> list[Path]:
        """Make recordings without speech: silence, noise and tones."""
        times = np.arange(QUIET_S * 16_000) / 16_000
        sounds = {"silence": np.zeros(len(times))}
        for level in (0.001, 0.01, 0.05):
            sounds[f"noise-{level}"] = level * self._noise.standard_normal(len(times))
        for hertz in (50, 440, 1000):
            sounds[f"tone-{hertz}"] = 0.2 * np.sin(2 * np.pi * hertz * times)
        for name, sound in sounds.items():
            _write(self._folder / f"{name}.wav", sound, 16_000)
        return [self._folder / f"{name}.wav" for name in sounds]

    def _single(self, name: str, pairs: tuple[tuple[str, str], ...]) -> TestRecording:
        voice = held_out_voice(self._draw, pairs)
        spoken = record(self._espeak, [(voice, 0.1, self._sentence(self._draw))], closing_s=0.1)
        return self._written(name, spoken, None)

    def _meeting(self, name: str, noise_db: float | None) -> TestRecording:
        voices = [held_out_voice(self._draw) for _ in range(3)]
        lines = conversation(self._draw, voices, self._sentence)
        return self._written(name, record(self._espeak, lines, max_s=self._draw.uniform(72, 120)), noise_db)

    def _sentence(self, draw: random.Random) -> str:
        while (text := grammar.sentence(draw)) in self._trained:
            pass
        return text

    def _written(self, name: str, spoken: Recording, noise_db: float | None) -> TestRecording:
        sound = spoken.samples / 32768
        if noise_db is not None:
            sound = sound + 10 ** (noise_db / 20) * self._noise.standard_normal(len(sound))
        path = self._folder / f"{name}.wav"
        _write(path, sound * 10 ** (self._draw.uniform(-8, 0) / 20), spoken.sample_rate)
        return TestRecording(path, spoken)


def _write(path: Path, sound: NDArray[np.float64], sample_rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
