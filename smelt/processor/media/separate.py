"""Converts frames of any format to 16 kHz, each channel apart, and measures which channels are the same."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from smelt.processor.errors import FileError
from smelt.processor.media.mono import MonoMixer
from smelt.processor.media.values import MAX_SEPARATE_CHANNELS

# Of the amplitude: channels with the same sound differ by noise, and by the losses of their codec.
_MIN_SAME_CORRELATION: Final = 0.98


class ChannelSplitter:
    """Converts frames to the bytes of 16-bit samples that alternate between some channels; by default all.

    A part of the file with fewer channels has its last one in place of the missing ones.
    """

    def __init__(self, channels: Sequence[int] = ()) -> None:
        self.channels: tuple[int, ...] = ()
        self._mixers: list[MonoMixer] = []
        self._products: NDArray[np.float64] = np.zeros((0, 0))
        self._take(channels)

    def convert(self, frame: AudioFrame) -> Iterator[bytes]:
        """Yield the samples that are complete after this frame; raise `FileError` for too many channels."""
        if not self.channels:
            self._take(_channels_of(frame))
        yield from self._joined([b"".join(mixer.convert(frame)) for mixer in self._mixers])

    def flush(self) -> Iterator[bytes]:
        """Yield the samples that the resamplers still hold."""
        yield from self._joined([b"".join(mixer.flush()) for mixer in self._mixers])

    def different_channels(self) -> tuple[int, ...]:
        """Return the channels without those that have the same sound as an earlier one, louder or inverted or not."""
        places = different_places(self._products)
        return tuple(self.channels[place] for place in places)

    def cancelled_channel(self) -> None:
        """Return None: channels that are not mixed do not cancel each other out."""

    def _take(self, channels: Sequence[int]) -> None:
        self.channels = tuple(channels)
        self._mixers = [MonoMixer(channel) for channel in channels]
        self._products = np.zeros((len(channels), len(channels)))

    def _joined(self, parts: Sequence[bytes]) -> Iterator[bytes]:
        if not any(parts):
            return
        samples = np.stack([np.frombuffer(part, np.int16) for part in parts], axis=1)
        scaled = samples.astype(np.float32) / 32768
        self._products += scaled.T @ scaled
        yield samples.tobytes()


def different_places(products: NDArray[np.float64]) -> list[int]:
    """Return the places of the channels that differ from all earlier ones.

    Args:
        products: the sums of the products of the samples of each two channels.
    """
    different: list[int] = []
    for place, row in enumerate(products):
        energies = [row[place] * products[earlier, earlier] for earlier in different]
        if not any(
            energy > 0 and abs(row[earlier]) >= _MIN_SAME_CORRELATION * np.sqrt(energy)
            for earlier, energy in zip(different, energies, strict=True)
        ):
            different.append(place)
    return different


def _channels_of(frame: AudioFrame) -> range:
    count = frame.layout.nb_channels
    if count > MAX_SEPARATE_CHANNELS:
        raise FileError(
            "transcription_failed",
            f"{count} channels, {MAX_SEPARATE_CHANNELS} can be separate",
            f'The option "channels" can separate at most {MAX_SEPARATE_CHANNELS} channels; this file has {count}.',
        )
    return range(count)
