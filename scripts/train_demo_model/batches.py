"""Batches of windows as tensors; batch number n is the same whenever and wherever it is made."""

import random
from dataclasses import dataclass, fields
from typing import Self

import torch
from bank import SAMPLE_RATE, Bank
from sound import HOP, MEL_BINS, Mel
from tokens import TICKS_A_SECOND, Vocabulary
from torch import Tensor
from torch.utils.data import Dataset
from windows import Span, Window, Windows

IGNORED = -100
# Some frames of padding after the window: one position of the encoder sees nothing but it.
_PADDING_FRAMES = 6


@dataclass(frozen=True)
class Lesson:
    """What the batches of a stretch of the training are like."""

    batch_size: int
    length_s: float
    first_steps: bool = False
    prompted_share: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Features, decoder input, wanted tokens, and what guides the attention and the encoder."""

    mel: Tensor
    ids: Tensor
    wanted: Tensor
    rows: Tensor  # the rows of the decoder that are not prompt
    heard_now: Tensor  # (window, row, position): where the token of a row is heard
    heard_next: Tensor  # where the token that the row should write is heard
    phonemes: Tensor

    def split(self, count: int) -> list[Self]:
        """The batch in parts of equal size."""
        parts = [getattr(self, field.name).tensor_split(count) for field in fields(self)]
        return [type(self)(*part) for part in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> Self:
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


class Batches(Dataset[Batch]):
    """Batch after batch by number; `lesson_of` tells which lesson a number belongs to."""

    def __init__(self, bank: Bank, vocabulary: Vocabulary, lessons: dict[int, Lesson], seed: int) -> None:
        self._windows, self._vocabulary = Windows(bank, vocabulary), vocabulary
        self._lessons, self._seed = lessons, seed
        self._mel = Mel()

    def __getitem__(self, number: int) -> Batch:
        draw = random.Random(self._seed * 1_000_003 + number)
        lesson = self._lessons[max(first for first in self._lessons if first <= number)]
        prompted = draw.random() < lesson.prompted_share
        windows = [
            self._windows.draw(draw, length_s=lesson.length_s, first_steps=lesson.first_steps, prompted=prompted)
            for _ in range(lesson.batch_size)
        ]
        return self._assemble(windows, draw)

    def _assemble(self, windows: list[Window], draw: random.Random) -> Batch:
        heads = [self._head(window) for window in windows]
        inputs = [[*w.prompt, *head, *w.target.tokens[:-1]] for w, head in zip(windows, heads, strict=True)]
        wanted = [self._wanted(window, head) for window, head in zip(windows, heads, strict=True)]
        now = [[*[None] * len(head), *w.target.spans[:-1]] for w, head in zip(windows, heads, strict=True)]
        following: list[list[Span]] = [
            [*[None] * (len(head) - 1), *w.target.spans] for w, head in zip(windows, heads, strict=True)
        ]
        mel = self._features(windows, draw)
        positions, row_count = mel.shape[2] // 2, max(map(len, now))
        length = max(map(len, inputs))
        first_rows = torch.tensor([len(window.prompt) for window in windows])
        return Batch(
            mel=mel,
            ids=_padded(inputs, length, self._vocabulary.end),
            wanted=_padded(wanted, length, IGNORED),
            rows=(first_rows[:, None] + torch.arange(row_count)).clamp(max=length - 1),
            heard_now=_mask(now, row_count, positions),
            heard_next=_mask(following, row_count, positions),
            phonemes=torch.stack([torch.from_numpy(window.phonemes) for window in windows]),
        )

    def _head(self, window: Window) -> list[int]:
        return [self._vocabulary.start] + ([] if window.timestamps else [self._vocabulary.no_timestamps])

    def _wanted(self, window: Window, head: list[int]) -> list[int]:
        wanted = [IGNORED] * (len(window.prompt) + len(head) - 1) + window.target.tokens
        if not window.target.has_speech:
            # faster-whisper reads the probability of silence right after the start token.
            wanted[len(window.prompt)] = self._vocabulary.no_speech
        return wanted

    def _features(self, windows: list[Window], draw: random.Random) -> Tensor:
        samples = torch.stack([torch.from_numpy(window.samples) for window in windows])
        louder = torch.tensor([draw.choice([0.0, 0.0, draw.uniform(0, 0.8)]) for _ in windows])
        ceilings = torch.tensor([_ceiling_hz(draw) for _ in windows])
        features = self._mel(samples, louder, ceilings)
        frames = samples.shape[1] // HOP
        mel = torch.zeros(len(windows), MEL_BINS, frames + _PADDING_FRAMES)
        for row, window in enumerate(windows):
            heard = min(frames, round(window.content_s * SAMPLE_RATE / HOP))
            mel[row, :, :heard] = features[row, :, :heard]
        return mel


def _ceiling_hz(draw: random.Random) -> float:
    """Nothing is heard above it: 4 kHz on the telephone, something lower than 8 kHz in small files."""
    kind = draw.random()
    return 4_000.0 if kind < 0.1 else draw.uniform(3_500, 7_500) if kind < 0.2 else 8_000.0


def _padded(rows: list[list[int]], length: int, filler: int) -> Tensor:
    return torch.tensor([row + [filler] * (length - len(row)) for row in rows])


def _mask(spans: list[list[Span]], row_count: int, positions: int) -> Tensor:
    mask = torch.zeros(len(spans), row_count, positions, dtype=torch.bool)
    for window, rows in enumerate(spans):
        for row, span in enumerate(rows):
            if span:
                begin, end = int(span[0] * TICKS_A_SECOND) - 1, int(span[1] * TICKS_A_SECOND) + 2
                mask[window, row, max(0, begin) : max(1, min(end, positions))] = True
    return mask
