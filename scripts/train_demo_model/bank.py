"""The bank of single utterances from which training windows are made."""

import multiprocessing
import os
import random
from dataclasses import dataclass
from pathlib import Path

import grammar
import numpy as np
from espeak import Espeak
from numpy.typing import NDArray
from progress import Progress
from scipy.signal import resample_poly
from tokens import Vocabulary
from voices import training_voice

SAMPLE_RATE = 16_000
SHARD_SIZE = 2_500


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence with the start times of its words and phonemes."""

    samples: NDArray[np.int16]
    tokens: NDArray[np.int32]
    word_starts: NDArray[np.float32]
    phonemes: NDArray[np.int16]
    phoneme_starts: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class Bank:
    """All shards of a folder as one sequence of utterances."""

    def __init__(self, folder: Path) -> None:
        self._shards = [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]
        self._audio = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
        names = sorted({str(name) for shard in self._shards for name in shard["names"]})
        self.phoneme_count = len(names) + 1
        for shard in self._shards:
            # Number 0 is silence; each shard numbers its phonemes in the order of their first occurrence.
            numbers = np.array([names.index(str(name)) + 1 for name in shard["names"]], np.int16)
            shard["phonemes"] = numbers[shard["phonemes"]]

    def __len__(self) -> int:
        return len(self._shards) * SHARD_SIZE

    def __getitem__(self, index: int) -> Utterance:
        shard, at = self._shards[index // SHARD_SIZE], index % SHARD_SIZE
        first_sample, end_sample = shard["sample_bounds"][at : at + 2]
        first_token, end_token = shard["token_bounds"][at : at + 2]
        first_phoneme, end_phoneme = shard["phoneme_bounds"][at : at + 2]
        return Utterance(
            samples=self._audio[index // SHARD_SIZE][first_sample:end_sample],
            tokens=shard["tokens"][first_token:end_token],
            # The full stop has no sound: there is one start fewer than tokens.
            word_starts=shard["word_starts"][first_token - at : end_token - at - 1],
            phonemes=shard["phonemes"][first_phoneme:end_phoneme],
            phoneme_starts=shard["phoneme_starts"][first_phoneme:end_phoneme],
        )

    def texts(self) -> set[str]:
        """Return every sentence of the bank."""
        return {str(text) for shard in self._shards for text in shard["texts"]}


def fill(folder: Path, utterance_count: int, seed: int, tokenizer: Path) -> None:
    """Synthesize the missing shards of the bank with one process per core."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = range(utterance_count // SHARD_SIZE)
    missing = [(folder / f"{shard:03d}", seed * 1_000 + shard, tokenizer) for shard in shards]
    missing = [job for job in missing if not job[0].with_suffix(".npz").exists()]
    if not missing:
        return
    with (
        multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool,
        Progress("speaking", len(missing)) as progress,
    ):
        for _ in pool.imap_unordered(_speak_shard, missing):
            progress.advance()


def _speak_shard(job: tuple[Path, int, Path]) -> None:
    path, seed, tokenizer = job
    vocabulary, espeak, draw = Vocabulary(tokenizer), Espeak(), random.Random(seed)
    audio: list[NDArray[np.int16]] = []
    texts: list[str] = []
    columns: dict[str, list[float]] = {"tokens": [], "word_starts": [], "phonemes": [], "phoneme_starts": []}
    bounds: dict[str, list[int]] = {"sample_bounds": [0], "token_bounds": [0], "phoneme_bounds": [0]}
    names: dict[str, int] = {}
    for _ in range(SHARD_SIZE):
        text = grammar.sentence(draw)
        speech = espeak.speak(text, training_voice(draw))
        audio.append(resampled(speech.samples, speech.sample_rate))
        texts.append(text)
        columns["tokens"] += vocabulary.words(text)
        columns["word_starts"] += speech.word_starts
        columns["phoneme_starts"] += (start for start, _ in speech.phonemes)
        columns["phonemes"] += (names.setdefault(name, len(names)) for _, name in speech.phonemes)
        bounds["sample_bounds"].append(bounds["sample_bounds"][-1] + len(audio[-1]))
        bounds["token_bounds"].append(len(columns["tokens"]))
        bounds["phoneme_bounds"].append(len(columns["phonemes"]))
    np.save(path.with_suffix(".npy"), np.concatenate(audio))
    # Written last: a shard with this file is complete.
    np.savez(
        path.with_suffix(".npz"),
        tokens=np.array(columns["tokens"], np.int32),
        word_starts=np.array(columns["word_starts"], np.float32),
        phonemes=np.array(columns["phonemes"], np.int16),
        phoneme_starts=np.array(columns["phoneme_starts"], np.float32),
        names=np.array(list(names)),
        texts=np.array(texts),
        **{name: np.array(values) for name, values in bounds.items()},
    )


def resampled(samples: NDArray[np.int16], sample_rate: int) -> NDArray[np.int16]:
    """Return the samples at the sample rate of the model."""
    if sample_rate == SAMPLE_RATE:
        return samples
    converted = resample_poly(samples.astype(np.float32), SAMPLE_RATE, sample_rate)
    return np.clip(converted, -32767, 32767).astype(np.int16)
