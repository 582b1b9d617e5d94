"""Writes recordings with PyAV: tones at known times, with pauses, pictures, several tracks and shifted clocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.media.values import MediaLimits
from tests.unit.processor.audio_samples import LIMITS

RATE = 48_000
LOUD = 0.05

Sound = NDArray[np.float32]


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.3) -> Sound:
    """Return a tone of 440 Hz on one channel."""
    angles = 2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate
    return (np.sin(angles) * amplitude).astype(np.float32)[None, :]


def silence(seconds: float, rate: int = RATE) -> Sound:
    """Return zeros on one channel."""
    return np.zeros((1, int(seconds * rate)), np.float32)


@dataclass
class Track:
    """An audio track; `shift` returns the seconds to add to the time of a packet."""

    sound: Sound
    codec: str
    rate: int = RATE
    layout: str = "mono"
    shift: Callable[[float], float] = lambda _: 0.0
    default: bool = True
    packets: list[Any] = field(default_factory=list)


def write(
    path: Path,
    *tracks: Track,
    picture_s: float = 0.0,
    picture_start_s: float = 0.0,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write the tracks, and a picture of `picture_s`, interleaved."""
    with av.open(str(path), "w", format=container_format, options=options or {}) as container:
        streams = []
        if picture_s:
            picture = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=10)
            picture.width = picture.height = 64
        for track in tracks:
            stream = container.add_stream(track.codec, rate=track.rate)
            stream.layout = track.layout
            stream.disposition = Disposition.default if track.default else Disposition(0)
            streams.append(stream)
        container.start_encoding()
        packets = [packet for track, stream in zip(tracks, streams, strict=True) for packet in encoded(track, stream)]
        if picture_s:
            packets += _picture(picture, picture_s, picture_start_s)
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)
    return path


def encoded(track: Track, stream: Any) -> list[Any]:
    """Return the packets of a track."""
    context = stream.codec_context
    count, sample_format = context.frame_size or 1024, context.format.name
    packets = []
    for start in [*range(0, track.sound.shape[1], count), None]:
        packets += stream.encode(
            None if start is None else frame_of(track.sound[:, start : start + count], track, sample_format, start)
        )
    for packet in packets:
        _shift(packet, track.shift(float(packet.pts * packet.time_base)))
    return packets


def frame_of(sound: Sound, track: Track, sample_format: str, start: int) -> av.AudioFrame:
    """Return samples as a frame in a format of an encoder."""
    scale, kind = {"s16": (2**15 - 1, np.int16), "s32": (2**31 - 1, np.int32)}.get(sample_format[:3], (1, np.float32))
    samples = (sound * scale).astype(kind)
    if not sample_format.endswith("p"):
        samples = samples.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=sample_format, layout=track.layout)
    frame.sample_rate, frame.pts, frame.time_base = track.rate, start, Fraction(1, track.rate)
    return frame


def _picture(stream: Any, seconds: float, start_s: float) -> list[Any]:
    packets = []
    for number in range(round(seconds * 10)):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number % 250, np.uint8))
        frame.pts, frame.time_base = number, Fraction(1, 10)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    for packet in packets:
        _shift(packet, start_s)
    return packets


def _shift(packet: Any, seconds: float) -> None:
    steps = round(seconds / packet.time_base)
    packet.pts += steps
    packet.dts += steps


def decoded(source: Path, limits: MediaLimits = LIMITS) -> Recording:
    """Decode a file; its progress never decreases and ends at 1, and its size on disk is that of its samples."""
    shares: list[float] = []
    target = source.with_name(f"{source.name}.pcm")
    recording = decode_to_pcm(source, target, probe(source, limits), limits, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert target.stat().st_size == 2 * recording.sample_count
    return recording


def loud_parts(recording: Recording, min_pause_s: float = 0.3) -> list[tuple[float, float]]:
    """Return the start and end of the parts with sound, in seconds."""
    step = SAMPLE_RATE // 100
    samples = recording.read(0, recording.sample_count)
    rms = np.sqrt(np.square(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1))
    parts: list[tuple[float, float]] = []
    for place in np.flatnonzero(rms > LOUD).tolist():
        if parts and place / 100 - parts[-1][1] < min_pause_s:
            parts[-1] = (parts[-1][0], (place + 1) / 100)
        else:
            parts.append((place / 100, (place + 1) / 100))
    return parts


def near(parts: Sequence[tuple[float, float]], tolerance_s: float = 0.06) -> Any:
    """Return a value that equals these parts within a tolerance."""
    return [pytest.approx(part, abs=tolerance_s) for part in parts]
