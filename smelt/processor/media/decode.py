"""Decoding with PyAV, straight to disk, in a thread of the caller's choice."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from smelt.pickling import PicklableError
from smelt.processor.faults import FileFault
from smelt.processor.media.probe import Limits, Probe, audio_stream, open_media
from smelt.processor.media.recording import BYTES_PER_SECOND, SAMPLE_RATE, Recording

logger = logging.getLogger(__name__)

# A recording with a few bad frames is worth its transcript; one that is mostly bad would give an invented one.
_TOLERATED_BAD_PACKETS: Final = 20
_TOLERATED_BAD_SHARE: Final = 0.05
# Encoders pad and trim at both ends; a file that lacks more than this lost its end on the way.
_TOLERATED_SHORTFALL_S: Final = 1.0
_TOLERATED_SHORTFALL_SHARE: Final = 0.02

OnDecoded = Callable[[float], bool]
"""Told the share that is decoded, 0 to 1; answers whether to go on."""


class Stopped(PicklableError):
    """Decoding was stopped by its caller."""


@dataclass
class _Tally:
    packets: int = 0
    bad_packets: int = 0

    def note_bad(self, exc: Exception) -> None:
        """Count a packet that can't be decoded; raise `decoding_failed` when there are too many of them."""
        self.bad_packets += 1
        if self.bad_packets > max(_TOLERATED_BAD_PACKETS, self.packets * _TOLERATED_BAD_SHARE):
            raise FileFault("decoding_failed", f"{self.bad_packets} of {self.packets} packets are damaged") from exc


def decode(source: Path, target: Path, probed: Probe, limits: Limits, on_decoded: OnDecoded) -> Recording:
    """Decode `source` to 16 kHz mono in `target`; raise `FileFault`, or `Stopped` when `on_decoded` says so."""
    byte_count = 0
    try:
        with open_media(source) as container, target.open("wb") as sink:
            for chunk, share in _decoded_chunks(container, probed):
                byte_count += _write(sink, chunk)
                if byte_count / BYTES_PER_SECOND > limits.max_duration_s:
                    raise FileFault("duration_exceeded", f"more than {limits.max_duration_s:.0f} s")
                if not on_decoded(share):
                    raise Stopped
    except av.error.FFmpegError as exc:
        raise FileFault("decoding_failed" if byte_count else "corrupted_file", str(exc)) from exc
    recording = Recording(target, byte_count // 2)
    _check_whole(recording, probed)
    return recording


def _write(sink: BinaryIO, chunk: bytes) -> int:
    sink.write(chunk)
    return len(chunk)


def _decoded_chunks(container: InputContainer, probed: Probe) -> Iterator[tuple[bytes, float]]:
    stream = audio_stream(container)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    share = 0.0
    for frame, position_bytes in _frames(container, stream):
        share = max(share, _share(frame, position_bytes, probed))
        for resampled in resampler.resample(frame):
            yield _samples(resampled), share
    for resampled in resampler.resample(None):
        yield _samples(resampled), 1.0


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[tuple[AudioFrame, int | None]]:
    tally = _Tally()
    for packet in container.demux(stream):
        tally.packets += 1
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as exc:
            tally.note_bad(exc)
            continue
        for frame in frames:
            if isinstance(frame, AudioFrame):
                yield frame, packet.pos
    if tally.bad_packets:
        logger.info("%s of %s packets are damaged and were left out", tally.bad_packets, tally.packets)


def _samples(frame: AudioFrame) -> bytes:
    # The plane is padded to its alignment; only the samples count.
    return bytes(frame.planes[0])[: frame.samples * 2]


def _share(frame: AudioFrame, position_bytes: int | None, probed: Probe) -> float:
    if probed.declared_s and frame.time is not None:
        return min(1.0, max(0.0, frame.time) / probed.declared_s)
    return min(1.0, (position_bytes or 0) / probed.size_bytes)


def _check_whole(recording: Recording, probed: Probe) -> None:
    if recording.sample_count == 0:
        raise FileFault("corrupted_file", "no sample could be decoded")
    if probed.declared_s is None:
        return
    shortfall_s = probed.declared_s - recording.duration_s
    if shortfall_s > _TOLERATED_SHORTFALL_S + probed.declared_s * _TOLERATED_SHORTFALL_SHARE:
        raise FileFault("corrupted_file", f"{shortfall_s:.0f} of {probed.declared_s:.0f} s are missing")


def bytes_needed(probed: Probe, limits: Limits) -> int:
    """Room on disk that the decoded recording may take at most."""
    return int((probed.declared_s or limits.max_duration_s) * BYTES_PER_SECOND)
