"""Decodes with PyAV, directly to disk; blocking."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from smelt.pickling import PicklableError
from smelt.processor.errors import FileError
from smelt.processor.media.clock import Clock, Interval, merged
from smelt.processor.media.headers import has_lost_pages, mp3_counted_s
from smelt.processor.media.mono import MonoMixer
from smelt.processor.media.packets import DecodedPacket, PacketReader
from smelt.processor.media.probe import audio_stream, open_media, reason
from smelt.processor.media.recording import Recording
from smelt.processor.media.separate import ChannelSplitter
from smelt.processor.media.source import Source
from smelt.processor.media.tracks import choose_track
from smelt.processor.media.values import SAMPLE_RATE, Decoded, DecodingReport, MediaLimits, Probe

logger = logging.getLogger(__name__)

# Of a file with less sound than this share nothing can be understood.
_MIN_SOUND_SHARE: Final = 0.01
# Encoders pad and trim at both ends; a file that lacks more than this is truncated.
_TOLERATED_SHORTFALL_S: Final = 1.0
# The rest of a Matroska file after its last packet, an index, is smaller.
_MAX_UNREAD_SHARE: Final = 0.1
# Pauses up to this length are filled even in a recording whose longer ones would exceed the maximum duration.
_SHORT_GAP_S: Final = 60.0
# Every codec decodes faster than real time; a file that does not could occupy a worker for days.
_MAX_PROCESSOR_S: Final = 60.0
# Their headers count the samples.
_COUNTED: Final = frozenset({"aiff", "ape", "caf", "flac", "mpc", "mpc8", "tta", "w64", "wav", "wv"})

OnDecoded = Callable[[float], object]
"""Receives the decoded share, 0 to 1, after each packet; it never decreases."""


class _TooLong(PicklableError):
    """The recording, with its silence, exceeds the maximum duration."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The sound to decode, and the maximum length of a gap that is a pause.

    The channels are mixed, unless there is one `channel` or several `separate` ones; empty separates all of them.
    """

    track: int
    max_gap_s: float
    channel: int | None = None
    separate: tuple[int, ...] | None = None


def decode_to_pcm(
    source: Source,
    target: Path,
    probed: Probe,
    limits: MediaLimits,
    on_decoded: OnDecoded,
    *,
    is_separate: bool = False,
) -> Recording:
    """Decode `source` to a recording at `target`; raise `FileError` if it is rejected."""
    with target.open("wb") as sink:
        decoded = decode(source, sink, probed, limits, on_decoded, is_separate=is_separate)
    return Recording(target, decoded.sample_count, decoded.report, decoded.channels)


def decode(
    source: Source,
    sink: BinaryIO,
    probed: Probe,
    limits: MediaLimits,
    on_decoded: OnDecoded,
    *,
    is_separate: bool = False,
) -> Decoded:
    """Decode `source` to 16 kHz in the empty file `sink`, mono or with separate channels.

    Times of the recording are those of the file's own clock: gaps are silence, and so are damaged parts. Channels with
    the same sound become one; if one is left, the result is mono. Raises `FileError` if the file is rejected.
    """
    progress = _Progress(on_decoded)
    try:
        track, track_count = choose_track(source, probed, lambda: progress.update(0.0))
        separate = () if is_separate and probed.channels != 1 else None
        plan = _Plan(track=track, max_gap_s=limits.max_duration_s, separate=separate)
        decoding = _decode(source, sink, probed, limits, plan, progress)
    except av.error.FFmpegError as exc:
        raise FileError("corrupted_file", reason(exc)) from exc
    progress.update(1.0)
    report = decoding.report()
    if track_count > 1:
        report = replace(report, track=track + 1, track_count=track_count)
    return Decoded(sample_count=decoding.sample_count, report=report, channels=decoding.channels)


def _decode(
    source: Source, sink: BinaryIO, probed: Probe, limits: MediaLimits, plan: _Plan, progress: "_Progress"
) -> "_Decoding":
    """Decode by a plan; decode again by another one if the gaps or the channels of the file require it."""
    decoding = _Decoding(source, probed, limits, plan, sink, progress)
    try:
        decoding.run()
    except _TooLong as exc:
        if decoding.max_filled_gap_s <= _SHORT_GAP_S:
            raise FileError("duration_exceeded", f"more than {limits.max_duration_s:.0f} s") from exc
        again = replace(plan, max_gap_s=_SHORT_GAP_S)
    else:
        better = decoding.better_plan()
        if better is None:
            return decoding
        again = better
    sink.seek(0)
    sink.truncate()
    return _decode(source, sink, probed, limits, again, progress)


class _Progress:
    """Passes on the decoded share, which never decreases."""

    def __init__(self, on_decoded: OnDecoded) -> None:
        self._on_decoded = on_decoded
        self._share = 0.0

    def update(self, share: float) -> None:
        self._share = min(1.0, max(self._share, share))
        self._on_decoded(self._share)


class _Decoding:
    """One pass over a file."""

    def __init__(
        self, source: Source, probed: Probe, limits: MediaLimits, plan: _Plan, sink: BinaryIO, progress: _Progress
    ) -> None:
        self._source = source
        self._probed = probed
        self._max_samples = int(limits.max_duration_s * SAMPLE_RATE)
        self._plan = plan
        self._sink = sink
        self._progress = progress
        self._clock = Clock(max_s=limits.max_duration_s, max_gap_s=plan.max_gap_s)
        self._mixer = MonoMixer(plan.channel) if plan.separate is None else ChannelSplitter(plan.separate)
        self._sound_s = 0.0
        self._is_behind_silence = False
        self._damaged: list[Interval] = []
        self._missing: list[Interval] = []
        self._gaps: list[Interval] = []
        self._started_s = time.thread_time()
        self.sample_count = 0

    @property
    def max_filled_gap_s(self) -> float:
        """The maximum length of the gaps that were filled."""
        return self._clock.max_filled_gap_s

    @property
    def channels(self) -> tuple[int, ...]:
        """The numbers of the separate channels, from 1; none if there is only one."""
        channels = self._mixer.channels
        return tuple(channel + 1 for channel in channels) if len(channels) > 1 else ()

    def better_plan(self) -> _Plan | None:
        """Return the plan by which to decode again; None if the result is good.

        Channels that cancel each other out are not mixed, and those with the same sound are not separated.
        """
        different = self._mixer.different_channels()
        if different != self._mixer.channels:
            return replace(self._plan, separate=different if len(different) > 1 else None)
        channel = self._mixer.cancelled_channel()
        return None if channel is None or self._plan.channel is not None else replace(self._plan, channel=channel)

    def run(self) -> None:
        """Decode all parts of the file; raise `FileError` if nothing is audible."""
        for start_bytes in self._probed.layout.part_starts:
            ignore_length = self._probed.layout.ignore_length
            with open_media(self._source, start_bytes=start_bytes, ignore_length=ignore_length) as container:
                self._clock.restart()
                self._run_part(container, audio_stream(container, self._plan.track))
        self._write(self._mixer.flush())
        self._sink.truncate(self.sample_count * self._sample_bytes)
        damaged_s = sum(end_s - start_s for start_s, end_s in self._damaged)
        if not self.sample_count or not self._sound_s:
            raise FileError("corrupted_file", "no sample could be decoded")
        if self._sound_s < damaged_s * _MIN_SOUND_SHARE:
            raise FileError("decoding_failed", f"{damaged_s:.0f} s are damaged, {self._sound_s:.1f} s are not")

    def report(self) -> DecodingReport:
        """Return what was found in this pass."""
        return DecodingReport(
            damaged=merged([*self._damaged, *self._missing]),
            clock_jumps=self._clock.jumps,
            channel=None if self._plan.channel is None else self._plan.channel + 1,
        )

    def _run_part(self, container: InputContainer, stream: AudioStream) -> None:
        reader = PacketReader(container, stream)
        try:
            for packet in reader.read():
                self._add(packet, reader, gaps_are_damage=container.format.name in _COUNTED)
        except av.error.FFmpegError as exc:
            if not self._sound_s:
                raise
            if isinstance(exc, MemoryError):
                raise FileError("decoding_failed", reason(exc)) from exc
            logger.info("stopped reading after %.0f s: %s", self._clock.position_s, exc)
        end_s = self._declared_end_s(container, stream, reader)
        if end_s is not None and end_s > self._clock.position_s + _TOLERATED_SHORTFALL_S:
            self._missing.append((self._clock.position_s, end_s))
        if self._gaps and container.format.name == "ogg" and has_lost_pages(self._source):
            self._damaged = sorted([*self._damaged, *self._gaps])

    def _add(self, packet: DecodedPacket, reader: PacketReader, *, gaps_are_damage: bool) -> None:
        for frame in packet.frames:
            seconds = frame.samples / frame.sample_rate
            self._fill_gap(reader.frame_time_s(frame), reader, damaged=gaps_are_damage)
            self._write(self._mixer.convert(frame))
            self._clock.advance(seconds)
            self._sound_s += seconds
        if packet.lost_s:
            self._fill_gap(packet.time_s, reader, damaged=gaps_are_damage)
            self._fill(self._clock.remaining(packet.time_s, packet.lost_s), damaged=True)
        self._check(packet)

    def _check(self, packet: DecodedPacket) -> None:
        position_s = self._clock.position_s
        if time.thread_time() - self._started_s > _MAX_PROCESSOR_S + self._sound_s:
            raise FileError("decoding_failed", f"{self._sound_s:.0f} s took too much processor time")
        if self._probed.declared_s:
            self._progress.update(position_s / self._probed.declared_s)
        else:
            self._progress.update((packet.position_bytes or 0) / self._probed.size_bytes)

    def _fill_gap(self, time_s: float | None, reader: PacketReader, *, damaged: bool) -> None:
        if time_s is not None and not self._clock.started:
            self._clock.start(reader.start_times.origin_s(time_s - self._clock.position_s))
        start_s = self._clock.position_s
        if gap_s := self._clock.gap_before(time_s):
            self._fill(gap_s, damaged=damaged)
            self._gaps.append((start_s, self._clock.position_s))

    def _fill(self, seconds: float, *, damaged: bool) -> None:
        """Write silence, which takes no space on most disks."""
        if not seconds:
            return
        start_s = self._clock.position_s
        self._write(self._mixer.flush())
        self._clock.advance(seconds)
        self._require_room(round(self._clock.position_s * SAMPLE_RATE))
        self._is_behind_silence = True
        if damaged:
            self._damaged.append((start_s, self._clock.position_s))

    def _write(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            if self._is_behind_silence:  # The size of a sample is known with the first frame, which may follow silence.
                self._sink.seek(self.sample_count * self._sample_bytes)
                self._is_behind_silence = False
            self._require_room(self.sample_count + len(chunk) // self._sample_bytes)
            self._sink.write(chunk)

    @property
    def _sample_bytes(self) -> int:
        """The size of a sample of all channels."""
        return 2 * max(1, len(self._mixer.channels))

    def _require_room(self, sample_count: int) -> None:
        if sample_count > self._max_samples:
            raise _TooLong
        self.sample_count = max(self.sample_count, sample_count)

    def _declared_end_s(self, container: InputContainer, stream: AudioStream, reader: PacketReader) -> float | None:
        """Return where the sound ends according to the header, where that is certain, or data is known to be missing.

        A picture can be longer than the sound, a pause can be the end, and some durations are estimates.
        """
        position_s, probed = self._clock.position_s, self._probed
        name, missing_bytes = container.format.name, probed.layout.missing_bytes
        time_base = stream.time_base or Fraction(1)
        length_s = None if stream.duration is None else float(stream.duration * time_base)
        if name == "wav" and missing_bytes:  # libav has reduced the duration to the size of the file.
            return position_s * (1 + missing_bytes / probed.size_bytes)
        if name == "mp3":
            return mp3_counted_s(self._source)
        if name in _COUNTED:
            return length_s
        if name == "matroska,webm":
            unread = 1 - reader.end_bytes / probed.size_bytes
            return probed.declared_s if missing_bytes or unread > _MAX_UNREAD_SHARE else None
        if reader.packet_count < stream.frames and length_s is not None:  # The index of MP4 lists each packet.
            return self._clock.position_of(float((stream.start_time or 0) * time_base)) + length_s
        return None
