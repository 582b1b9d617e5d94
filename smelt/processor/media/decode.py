"""Decodes with PyAV, directly to disk; blocking."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from smelt.pickling import PicklableError
from smelt.processor.errors import FileError
from smelt.processor.media.probe import MediaLimits, Probe, audio_stream, check_bounds, open_media, reason
from smelt.processor.media.recording import BYTES_PER_SECOND, SAMPLE_RATE, Recording

logger = logging.getLogger(__name__)

# A few damaged frames do not spoil a transcript; with many, the model would invent text.
_TOLERATED_BAD_PACKETS: Final = 20
_TOLERATED_BAD_SHARE: Final = 0.05
# Encoders pad and trim at both ends; a file that lacks more than this is truncated.
_TOLERATED_SHORTFALL_S: Final = 1.0
_TOLERATED_SHORTFALL_SHARE: Final = 0.02
# Muxers write up to 10 s into a packet. A whole frame is in memory, before and after resampling.
_MAX_FRAME_S: Final = 60.0
# Over all channels: 10 s of stereo at 384 kHz.
_MAX_FRAME_SAMPLES: Final = 8 * 1024 * 1024
# Every codec decodes faster than real time; a file that does not could occupy a worker for days.
_MAX_PROCESSOR_S: Final = 60.0

OnDecoded = Callable[[float], bool]
"""Receives the decoded share, 0 to 1; returns False to stop decoding."""


class Stopped(PicklableError):
    """Decoding was stopped by its caller."""


@dataclass
class _PacketCount:
    packets: int = 0
    bad_packets: int = 0

    def note_bad(self, exc: Exception) -> None:
        """Count a damaged packet; raise `decoding_failed` if there are too many of them."""
        self.bad_packets += 1
        if self.bad_packets > max(_TOLERATED_BAD_PACKETS, self.packets * _TOLERATED_BAD_SHARE):
            raise FileError("decoding_failed", f"{self.bad_packets} of {self.packets} packets are damaged") from exc


def decode_to_pcm(source: Path, target: Path, probed: Probe, limits: MediaLimits, on_decoded: OnDecoded) -> Recording:
    """Decode `source` to 16 kHz mono in `target`; raise `FileError`, or `Stopped` if `on_decoded` returns False."""
    byte_count = 0
    started_s = time.thread_time()
    try:
        with open_media(source) as container, target.open("wb") as sink:
            for chunk, share in _decoded_chunks(container, probed):
                byte_count += _write(sink, chunk)
                decoded_s = byte_count / BYTES_PER_SECOND
                if decoded_s > limits.max_duration_s:
                    raise FileError("duration_exceeded", f"more than {limits.max_duration_s:.0f} s")
                if time.thread_time() - started_s > _MAX_PROCESSOR_S + decoded_s:
                    raise FileError("decoding_failed", f"{decoded_s:.0f} s took too much processor time")
                if not on_decoded(share):
                    raise Stopped
    except av.error.FFmpegError as exc:
        raise FileError("decoding_failed" if byte_count else "corrupted_file", reason(exc)) from exc
    recording = Recording(target, byte_count // 2)
    _check_duration(recording, probed)
    return recording


def _write(sink: BinaryIO, chunk: bytes) -> int:
    sink.write(chunk)
    return len(chunk)


def _decoded_chunks(container: InputContainer, probed: Probe) -> Iterator[tuple[bytes, float]]:
    stream = audio_stream(container)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    share = 0.0
    for frames, position_bytes in _decoded_packets(container, stream):
        for frame in frames:
            _check_frame(frame)
            share = max(share, _share(frame, position_bytes, probed))
            for resampled in resampler.resample(frame):
                yield _samples(resampled), share
        yield b"", share  # A packet without a frame takes time as well, so check for a stop.
    for resampled in resampler.resample(None):
        yield _samples(resampled), 1.0


def _decoded_packets(container: InputContainer, stream: AudioStream) -> Iterator[tuple[list[AudioFrame], int | None]]:
    count = _PacketCount()
    monkeys_audio = stream.codec_context.name == "ape"
    if not monkeys_audio:  # Its decoder has an option of this name with another meaning.
        stream.codec_context.options = {"max_samples": str(_MAX_FRAME_SAMPLES)}
    for packet in container.demux(stream):
        count.packets += 1
        if monkeys_audio:
            _check_sample_count(bytes(packet)[:4], stream.channels)
        try:
            frames = stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as exc:
            count.note_bad(exc)
            frames = []
        yield frames, packet.pos
    if count.bad_packets:
        logger.info("skipped %s damaged packets of %s", count.bad_packets, count.packets)


def _check_sample_count(head: bytes, channels: int) -> None:
    # The demuxer writes the number of samples first. Silence takes no bytes in the file and is decoded all at once.
    samples = int.from_bytes(head, "little") * channels
    if samples > _MAX_FRAME_SAMPLES:
        raise FileError("invalid_format", f"{samples} samples in one packet, {_MAX_FRAME_SAMPLES} are allowed")


def _check_frame(frame: AudioFrame) -> None:
    check_bounds(frame.sample_rate, frame.layout.nb_channels)
    frame_s = frame.samples / frame.sample_rate
    if frame_s > _MAX_FRAME_S:
        raise FileError("invalid_format", f"{frame_s:.0f} s of sound in one frame, {_MAX_FRAME_S:.0f} s are allowed")


def _samples(frame: AudioFrame) -> bytes:
    # The plane is padded to its alignment; only the samples count.
    return bytes(frame.planes[0])[: frame.samples * 2]


def _share(frame: AudioFrame, position_bytes: int | None, probed: Probe) -> float:
    if probed.declared_s and frame.time is not None:
        return min(1.0, max(0.0, frame.time) / probed.declared_s)
    return min(1.0, (position_bytes or 0) / probed.size_bytes)


def _check_duration(recording: Recording, probed: Probe) -> None:
    if recording.sample_count == 0:
        raise FileError("corrupted_file", "no sample could be decoded")
    if probed.declared_s is None:
        return
    shortfall_s = probed.declared_s - recording.duration_s
    if shortfall_s > _TOLERATED_SHORTFALL_S + probed.declared_s * _TOLERATED_SHORTFALL_SHARE:
        raise FileError("corrupted_file", f"{shortfall_s:.0f} of {probed.declared_s:.0f} s are missing")


def bytes_needed(probed: Probe, limits: MediaLimits) -> int:
    """Return the maximum size of the decoded recording on disk."""
    return int((probed.declared_s or limits.max_duration_s) * BYTES_PER_SECOND)
