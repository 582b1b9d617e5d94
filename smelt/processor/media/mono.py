"""Converts frames of any format to 16 kHz mono, and measures whether the mix loses what the channels have."""

from collections.abc import Iterator
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from smelt.processor.media.values import SAMPLE_RATE

Powers = NDArray[np.float64]

# 14 dB: a mix that is this much quieter than a voice on one channel alone makes it has lost sound.
_CANCELLED: Final = 25.0
# -80 dB: quieter is not speech, on any channel.
_AUDIBLE_POWER: Final = 1e-8
_BLOCK_SAMPLES: Final = 65_536
_MAX_PLANES: Final = 8
# Measuring takes longer than mixing.
_MEASURE_INTERVAL_S: Final = 0.2


class MonoMixer:
    """Converts frames to the bytes of 16-bit samples; with `channel`, it takes that one instead of the mix.

    The format of the frames may change, as in files that were joined.
    """

    channels: Final[tuple[int, ...]] = ()
    """The separate channels: none."""

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._format: tuple[object, ...] = ()
        self._by_hand = False
        self._resampler = _resampler()
        self._unmeasured_s = _MEASURE_INTERVAL_S
        self._measured_s = 0.0
        self._mix_energy = 0.0
        self._channel_energies = np.zeros(1)

    def convert(self, frame: AudioFrame) -> Iterator[bytes]:
        """Yield the samples that are complete after this frame."""
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_format != self._format:
            yield from self.flush()
            self._format = frame_format
            self._by_hand = self._channel is not None or not _has_mix(frame)
        seconds = frame.samples / frame.sample_rate
        measured = frame.layout.nb_channels > 1 and self._unmeasured_s >= _MEASURE_INTERVAL_S
        self._unmeasured_s = 0.0 if measured else self._unmeasured_s + seconds
        if measured:
            self._add_energies(channel_powers(frame) * seconds)
            self._measured_s += seconds
        for resampled in self._resampler.resample(self._by_hand_mono(frame) if self._by_hand else frame):
            samples = _samples(resampled)
            if measured:
                self._mix_energy += _power(np.frombuffer(samples, np.int16) / 32768) * resampled.samples / SAMPLE_RATE
            yield samples

    def flush(self) -> Iterator[bytes]:
        """Yield the samples that the resampler still holds; the next frame starts a new one."""
        for resampled in self._resampler.resample(None):
            yield _samples(resampled)
        self._resampler = _resampler()

    def different_channels(self) -> tuple[int, ...]:
        """Return `channels`: the result is one channel."""
        return self.channels

    def cancelled_channel(self) -> int | None:
        """Return the loudest channel if the channels cancel each other out in the mix, else None."""
        if not self._measured_s:
            return None
        return cancelled_channel(self._mix_energy / self._measured_s, self._channel_energies / self._measured_s)

    def _add_energies(self, energies: Powers) -> None:
        count = max(len(self._channel_energies), len(energies))
        total = np.zeros(count)
        total[: len(self._channel_energies)] += self._channel_energies
        total[: len(energies)] += energies
        self._channel_energies = total

    def _by_hand_mono(self, frame: AudioFrame) -> AudioFrame:
        blocks = [
            block.mean(axis=0) if self._channel is None else block[min(self._channel, len(block) - 1)]
            for block in _blocks(frame)
        ]
        samples = np.concatenate([block.astype(np.float32) for block in blocks])
        mono = AudioFrame.from_ndarray(samples[None, :], format="flt", layout="mono")
        mono.sample_rate = frame.sample_rate
        return mono


def cancelled_channel(mix_power: float, channel_powers: Powers) -> int | None:
    """Return the loudest channel if the mix is far below it, as with a channel that is the other one inverted."""
    loudest = int(channel_powers.argmax())
    # A voice on one of n channels keeps a share of 1 / n**2 in the mix.
    min_share = 1 / (_CANCELLED * len(channel_powers) ** 2)
    cancelled = channel_powers[loudest] > _AUDIBLE_POWER and mix_power < channel_powers[loudest] * min_share
    return loudest if cancelled else None


def channel_powers(frame: AudioFrame) -> Powers:
    """Return the mean square of the samples of each channel; full scale is 1."""
    energies = np.zeros(frame.layout.nb_channels)
    for block in _blocks(frame):
        energies += np.square(block).sum(axis=1)
    return energies / frame.samples


def _blocks(frame: AudioFrame) -> Iterator[NDArray[np.float64]]:
    """Yield the samples by channel, between -1 and 1; in blocks, because a frame can have millions."""
    planar = frame.format.is_planar and frame.layout.nb_channels <= _MAX_PLANES
    if frame.format.is_planar and not planar:
        # PyAV reads beyond the planes that a frame itself points to.
        frame = av.AudioResampler(format="flt", layout=frame.layout.name, rate=frame.sample_rate).resample(frame)[0]
    samples = frame.to_ndarray()
    channels = samples if planar else samples.reshape(-1, frame.layout.nb_channels).T
    for start in range(0, frame.samples, _BLOCK_SAMPLES):
        block = channels[:, start : start + _BLOCK_SAMPLES].astype(np.float64)
        if samples.dtype == np.uint8:
            yield (block - 128) / 128
        elif samples.dtype.kind == "i":
            yield block / float(1 << 8 * samples.dtype.itemsize - 1)
        else:  # A damaged packet can decode to anything.
            yield np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1)


def _power(samples: NDArray[np.float64]) -> float:
    return float(np.square(samples).mean()) if samples.size else 0.0


def _has_mix(frame: AudioFrame) -> bool:
    """Return True if libswresample can mix these channels; it does not know what 9 or 11 channels are."""
    if frame.layout.nb_channels == 1:
        return True
    silence = np.zeros((1, frame.layout.nb_channels), np.float32)
    try:
        probe = AudioFrame.from_ndarray(silence, format="flt", layout=frame.layout.name)
        probe.sample_rate = SAMPLE_RATE
        _resampler().resample(probe)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _samples(frame: AudioFrame) -> bytes:
    # The plane is padded to its alignment; only the samples count.
    return bytes(frame.planes[0])[: frame.samples * 2]
