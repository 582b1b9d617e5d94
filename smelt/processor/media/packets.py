"""Reads and decodes the packets of one audio track; a packet that can't be decoded is lost time, not an error."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from smelt.processor.errors import FileError
from smelt.processor.media.clock import OtherStreams
from smelt.processor.media.headers import id3_bytes
from smelt.processor.media.probe import check_bounds, read_packets

# Muxers write up to 10 s into a packet. A whole frame is in memory, before and after resampling.
_MAX_FRAME_S: Final = 60.0
# Over all channels: 10 s of stereo at 384 kHz.
_MAX_FRAME_SAMPLES: Final = 8 * 1024 * 1024
# Their demuxers count frames: where bytes are damaged, their times are wrong afterwards.
_WITHOUT_CLOCK: Final = frozenset({"aac", "ac3", "amr", "eac3", "mp3"})


@dataclass(frozen=True, kw_only=True)
class DecodedPacket:
    """The frames of a packet; `lost_s` seconds of sound at `time_s` are damaged in it."""

    frames: tuple[AudioFrame, ...] = ()
    time_s: float | None = None
    lost_s: float = 0.0
    position_bytes: int | None = None


class PacketReader:
    """Decodes one track of a container, and notes where the other streams start."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._container = container
        self._stream = stream
        self._has_clock = container.format.name not in _WITHOUT_CLOCK
        self._monkeys_audio = stream.codec_context.name == "ape"
        stream.codec_context.thread_count = 1
        if not self._monkeys_audio:  # Its decoder has an option of this name with another meaning.
            stream.codec_context.options = {"max_samples": str(_MAX_FRAME_SAMPLES)}
        self._others = [
            other
            for other in (*container.streams.audio, *container.streams.video)
            if other.index != stream.index and not other.disposition & Disposition.attached_pic
        ]
        self._tag_end_bytes = 0
        self._sound_bytes = 0
        self._sound_s = 0.0
        self.packet_count = 0
        self.end_bytes = 0
        self.start_times = OtherStreams()
        for other in self._others:
            if other.start_time is not None and other.time_base is not None:
                self.start_times.add(float(other.start_time * other.time_base))

    def read(self) -> Iterator[DecodedPacket]:
        """Yield the packets of the track, until the container ends or can't be read further."""
        for packet in read_packets(self._container, self._stream, *self._others):
            self.end_bytes = max(self.end_bytes, (packet.pos or 0) + packet.size)
            if packet.stream.index != self._stream.index:
                if (time_s := _time_s(packet)) is not None:
                    self.start_times.add(time_s)
                continue
            self.packet_count += packet.size > 0
            if self._monkeys_audio:
                _check_sample_count(bytes(packet)[:4], self._stream.channels)
            try:
                yield self._decoded(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                yield self._lost(packet)

    def frame_time_s(self, frame: AudioFrame) -> float | None:
        """Return the time of a frame on the clock of the container; None if it has none."""
        return frame.time if self._has_clock else None

    def _decoded(self, packet: "Packet[Stream]") -> DecodedPacket:
        frames = tuple(self._stream.decode(packet))
        for frame in frames:
            _check_frame(frame)
            self._sound_s += frame.samples / frame.sample_rate
        self._sound_bytes += packet.size
        return DecodedPacket(frames=frames, position_bytes=packet.pos)

    def _lost(self, packet: "Packet[Stream]") -> DecodedPacket:
        time_s = _time_s(packet) if self._has_clock else None
        return DecodedPacket(time_s=time_s, lost_s=self._lost_s(packet), position_bytes=packet.pos)

    def _lost_s(self, packet: "Packet[Stream]") -> float:
        duration_s = 0.0 if packet.duration is None else float(packet.duration * packet.time_base)
        if self._has_clock:
            return min(duration_s, _MAX_FRAME_S)
        # Without a container, everything up to the next frame is in the packet: damaged frames, or a tag of a file
        # that was appended.
        start_bytes, data = packet.pos or 0, bytes(packet)
        if start_bytes >= self._tag_end_bytes and (found := data.find(b"ID3")) >= 0:
            self._tag_end_bytes = start_bytes + found + id3_bytes(data[found:])
        if start_bytes < self._tag_end_bytes:
            return 0.0
        by_size_s = packet.size * self._sound_s / self._sound_bytes if self._sound_bytes else 0.0
        return min(max(duration_s, by_size_s), _MAX_FRAME_S)


def _time_s(packet: "Packet[Stream]") -> float | None:
    time = packet.dts if packet.pts is None else packet.pts
    return None if time is None else float(time * packet.time_base)


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
