"""Batches of windows as tensors; the number of a batch and the seed determine its content."""

import random
from dataclasses import dataclass, fields
from typing import Self

import torch
from bank import SAMPLE_RATE, Bank
from sound import HOP, MEL_BINS, Mel
from tokens import TICKS_PER_SECOND, Vocabulary
from torch import Tensor
from torch.utils.data import Dataset
from windows import Span, Window, Windows

IGNORED = -100
# Frames of padding after the window, so that one position of the encoder covers padding only.
_PADDING_FRAMES = 6


@dataclass(frozen=True)
class BatchOptions:
    """The size and content of the batches from a step of the training on."""

    batch_size: int
    length_s: float
    first_steps: bool = False
    prompted_share: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Features, decoder input, expected tokens, and the targets of the attention and the phoneme loss."""

    mel: Tensor
    ids: Tensor
    expected: Tensor
    rows: Tensor  # the rows of the decoder without those of the prompt
    current_spans: Tensor  # (window, row, position): true where the token of a row is spoken
    next_spans: Tensor  # true where the token that follows the row is spoken
    phonemes: Tensor

    def split(self, count: int) -> list[Self]:
        """Split the batch into parts of equal size."""
        parts = [getattr(self, field.name).tensor_split(count) for field in fields(self)]
        return [type(self)(*part) for part in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> Self:
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


class Batches(Dataset[Batch]):
    """Batches by number; `options` maps the first number of each stretch to its options."""

    def __init__(self, bank: Bank, vocabulary: Vocabulary, options: dict[int, BatchOptions], seed: int) -> None:
        self._windows, self._vocabulary = Windows(bank, vocabulary), vocabulary
        self._options, self._seed = options, seed
        self._mel = Mel()

    def __getitem__(self, number: int) -> Batch:
        draw = random.Random(self._seed * 1_000_003 + number)
        options = self._options[max(first for first in self._options if first <= number)]
        prompted = draw.random() < options.prompted_share
        windows = [
            self._windows.draw(draw, length_s=options.length_s, first_steps=options.first_steps, prompted=prompted)
            for _ in range(options.batch_size)
        ]
        return self._assemble(windows, draw)

    def _assemble(self, windows: list[Window], draw: random.Random) -> Batch:
        heads = [self._head(window) for window in windows]
        inputs = [[*w.prompt, *head, *w.target.tokens[:-1]] for w, head in zip(windows, heads, strict=True)]
        expected = [self._expected(window, head) for window, head in zip(windows, heads, strict=True)]
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
            expected=_padded(expected, length, IGNORED),
            rows=(first_rows[:, None] + torch.arange(row_count)).clamp(max=length - 1),
            current_spans=_mask(now, row_count, positions),
            next_spans=_mask(following, row_count, positions),
            phonemes=torch.stack([torch.from_numpy(window.phonemes) for window in windows]),
        )

    def _head(self, window: Window) -> list[int]:
        return [self._vocabulary.start] + ([] if window.timestamps else [self._vocabulary.no_timestamps])

    def _expected(self, window: Window, head: list[int]) -> list[int]:
        expected = [IGNORED] * (len(window.prompt) + len(head) - 1) + window.target.tokens
        if not window.target.has_speech:
            # faster-whisper reads the probability of silence right after the start token.
            expected[len(window.prompt)] = self._vocabulary.no_speech
        return expected

    def _features(self, windows: list[Window], draw: random.Random) -> Tensor:
        samples = torch.stack([torch.from_numpy(window.samples) for window in windows])
        louder = torch.tensor([draw.choice([0.0, 0.0, draw.uniform(0, 0.8)]) for _ in windows])
        ceilings = torch.tensor([_ceiling_hz(draw) for _ in windows])
        features = self._mel(samples, louder, ceilings)
        frames = samples.shape[1] // HOP
        mel = torch.zeros(len(windows), MEL_BINS, frames + _PADDING_FRAMES)
        for row, window in enumerate(windows):
            audible = min(frames, round(window.content_s * SAMPLE_RATE / HOP))
            mel[row, :, :audible] = features[row, :, :audible]
        return mel


def _ceiling_hz(draw: random.Random) -> float:
    """Draw the highest frequency of a recording: 4 kHz for telephones, less than 8 kHz for small files."""
    kind = draw.random()
    return 4_000.0 if kind < 0.1 else draw.uniform(3_500, 7_500) if kind < 0.2 else 8_000.0


def _padded(rows: list[list[int]], length: int, filler: int) -> Tensor:
    return torch.tensor([row + [filler] * (length - len(row)) for row in rows])


def _mask(spans: list[list[Span]], row_count: int, positions: int) -> Tensor:
    mask = torch.zeros(len(spans), row_count, positions, dtype=torch.bool)
    for window, rows in enumerate(spans):
        for row, span in enumerate(rows):
            if span:
                begin, end = int(span[0] * TICKS_PER_SECOND) - 1, int(span[1] * TICKS_PER_SECOND) + 2
                mask[window, row, max(0, begin) : max(1, min(end, positions))] = True
    return mask
