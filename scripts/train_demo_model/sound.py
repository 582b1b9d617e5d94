"""Distortions of real recordings, and the log-mel features of Whisper."""

import random

import numpy as np
import torch
from bank import SAMPLE_RATE
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from torch import Tensor

HOP = 160
MEL_BINS = 80
_TOP_HZ = 8_000

Samples = NDArray[np.float32]


def decibels(level_db: float) -> float:
    """Return the factor of a level in decibels."""
    return float(10 ** (level_db / 20))


def disturb(samples: Samples, draw: random.Random, noise: np.random.Generator) -> Samples:
    """Add noise and change color and loudness, as microphones and recorders do."""
    if draw.random() < 0.6:
        hiss = noise.standard_normal(len(samples), np.float32)
        if draw.random() < 0.5:
            hiss[1:] = hiss[1:] * 0.4 + hiss[:-1] * 0.6
        samples = samples + hiss * np.float32(decibels(draw.uniform(-75, -38)))
    samples = samples * np.float32(decibels(draw.uniform(-14, 3)))
    if draw.random() < 0.2:
        samples[1:] += np.float32(draw.uniform(-0.5, 0.5)) * samples[:-1]
    peak = float(np.abs(samples).max())
    if peak > 0.99:
        samples = samples * np.float32(0.99 / peak)
    if draw.random() < 0.5:
        samples = np.round(samples * 32768) / 32768
    return samples.astype(np.float32)


def add_tones(samples: Samples, draw: random.Random) -> Samples:
    """Add hum and beeps; only windows without speech have them."""
    times = np.arange(len(samples)) / SAMPLE_RATE
    length_s = len(samples) / SAMPLE_RATE
    for _ in range(draw.randint(1, 4)):
        hertz = draw.choice([50, 60, 100, 440, draw.uniform(60, 3000)])
        begin, end = sorted((draw.uniform(-3, length_s), draw.uniform(0, length_s + 3)))
        wave = np.sin(2 * np.pi * hertz * times + draw.uniform(0, 6)) * ((times >= begin) & (times <= end))
        if draw.random() < 0.5:
            period_s = draw.uniform(0.2, 3.0)
            wave = wave * (times % period_s < draw.uniform(0.1, 0.9) * period_s)
        samples = samples + (decibels(draw.uniform(-50, -12)) * wave).astype(np.float32)
    return samples


class Mel:
    """The log-mel features of faster-whisper for a batch, with two properties of real files."""

    def __init__(self) -> None:
        filters = FeatureExtractor(feature_size=MEL_BINS).mel_filters
        self._filters = torch.from_numpy(filters)
        self._center_hz = torch.from_numpy(filters.argmax(1)) * (_TOP_HZ / (filters.shape[1] - 1))
        self._window = torch.hann_window(400)

    def __call__(self, samples: Tensor, outside_gain: Tensor, ceiling_hz: Tensor) -> Tensor:
        """Return features as (batch, bins, frames).

        A file may be louder outside the window (`outside_gain`, in log10), and have no sound above a ceiling, as
        telephone recordings have none above 4 kHz.
        """
        spectrum = torch.stft(samples, 400, HOP, window=self._window, return_complex=True)
        power = self._filters @ (spectrum[..., :-1].abs() ** 2)
        power = torch.where(self._center_hz[None, :, None] > ceiling_hz[:, None, None], power * 1e-7, power)
        mel = power.clamp(min=1e-10).log10()
        floor = mel.amax((1, 2), keepdim=True) + outside_gain[:, None, None] - 8.0
        return (torch.maximum(mel, floor) + 4.0) / 4.0
