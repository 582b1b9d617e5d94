"""Validates media files: whether they can be decoded, and are within the limits.

A small file can request gigabytes: sample rate, channels and each allocation of libav are bounded for any container.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

import av
import av._core
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from smelt.processor.errors import FileError
from smelt.processor.media.headers import comment_count, mp3_counted_s, read_layout, stripped_bytes
from smelt.processor.media.sniff import HEAD_BYTES, content_kind
from smelt.processor.media.source import Source
from smelt.processor.media.values import MediaLimits, Probe

# Telephones record at 8 kHz, the fastest converters at 768 kHz. A second at 1 Hz would become 16,000 samples.
_MIN_SAMPLE_RATE: Final = 4_000
_MAX_SAMPLE_RATE: Final = 768_000
# 22.2 surround sound: the resampler mixes no larger layout down to mono.
_MAX_CHANNELS: Final = 24
# Bounds each allocation of libav: an index of 24 bytes per packet takes 50 MiB for 12 hours.
_MAX_ALLOCATION_BYTES: Final = 64 * 1024 * 1024
_OPTIONS: Final = {
    # Playlists and scripts (hls, concat, dash, sdp ...) can open other files or the network. The file itself is read
    # by Python, so that libav needs no protocol.
    "protocol_whitelist": "none",
    # No decoder runs while probing: a picture or a second track could allocate any amount of memory.
    "codec_whitelist": "none",
    "format_whitelist": ",".join(
        (
            *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "eac3", "flac", "flv", "matroska", "mov"),
            *("mp3", "mpc", "mpc8", "mpeg", "mpegts", "oga", "ogg", "spx", "tta", "w64", "wav", "webm", "wv"),
        )
    ),
}
# Layouts without a name of their own are described by their channels: "8 channels (FL+FR+...)".
_CHANNEL_LIST: Final = " channels ("
# Muxers remove some bytes of the header of a frame. libav adds them to each of up to 256 packets of a block at once.
_MAX_STRIPPED_BYTES: Final = 1024
# libav compares each one with all before it, whenever it opens the file: 50,000 take 10 s.
_MAX_COMMENTS: Final = 2000
# libav guesses their durations from the bit rate of the first frames.
_GUESSED_DURATION: Final = frozenset({"aac", "ac3", "amr", "eac3", "mpeg"})
# Their durations are the time of the end, not the time since the start.
_DURATION_IS_END: Final = frozenset({"matroska,webm", "ogg"})


@contextmanager
def open_media(source: Source, *, start_bytes: int = 0, ignore_length: bool = False) -> Iterator[InputContainer]:
    """Open the recording that starts at this byte, without following references to other files or the network."""
    limit_allocations()
    options = dict(_OPTIONS)
    if start_bytes:
        options["skip_initial_bytes"] = str(start_bytes)
    if ignore_length:
        options["ignore_length"] = "1"
    with (
        source.open("rb") as file,
        av.open(file, mode="r", options=options, metadata_errors="replace") as container,
    ):
        _simplify_layouts(container)
        yield container


def _simplify_layouts(container: InputContainer) -> None:
    """Replace each layout of channels in an order of its own by their number.

    PyAV would free its list of channels more than once: with the layout, with the stream and with each frame.
    """
    for stream in container.streams.audio:
        # The list is freed once, with `layout`: the stream does not refer to it anymore.
        if stream.codec_context and _CHANNEL_LIST in (layout := stream.codec_context.layout).name:
            stream.codec_context.layout = f"{layout.nb_channels} channels"


@cache
def limit_allocations() -> None:
    """Bound each allocation of libav."""
    # PyAV does not export this function; look it up in a module that is linked with libavutil.
    ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(_MAX_ALLOCATION_BYTES))


def audio_tracks(container: InputContainer) -> list[AudioStream]:
    """Return the audio tracks that can be decoded, those that are played by default first."""
    tracks = [stream for stream in container.streams.audio if stream.codec_context]
    return sorted(tracks, key=lambda track: not track.disposition & Disposition.default)


def read_packets(container: InputContainer, *streams: Stream) -> Iterator["Packet[Stream]"]:
    """Yield the packets of some streams until the container ends; those of streams that begin later are skipped."""
    while True:
        try:
            yield from container.demux(*streams)
        except IndexError:  # The first packet of a stream that PyAV did not know when it began to read.
            continue
        return


def audio_stream(container: InputContainer, track: int | None = None) -> AudioStream:
    """Return the track to decode, by default the first; raise `invalid_format` if there is none."""
    if not container.streams.audio:
        raise FileError("invalid_format", "no audio stream")
    if track is None:
        tracks = audio_tracks(container)
        if not tracks:
            raise FileError("invalid_format", "no decoder for its audio stream")
        stream = tracks[0]
    else:
        stream = container.streams.audio[track]
    if stream.sample_rate:  # Some headers omit it; frames are checked as well.
        check_bounds(stream.sample_rate, stream.channels)
    return stream


def check_bounds(sample_rate: int, channels: int) -> None:
    """Raise `invalid_format` for a sample rate or channel count outside of the limits."""
    if not _MIN_SAMPLE_RATE <= sample_rate <= _MAX_SAMPLE_RATE:
        bounds = f"{_MIN_SAMPLE_RATE} to {_MAX_SAMPLE_RATE} Hz"
        raise FileError("invalid_format", f"a sample rate of {sample_rate} Hz, {bounds} are allowed")
    if channels > _MAX_CHANNELS:
        raise FileError("invalid_format", f"{channels} channels, {_MAX_CHANNELS} are allowed")


def probe(source: Source, limits: MediaLimits) -> Probe:
    """Inspect a file without decoding it; raise `FileError` with the matching code if it is rejected."""
    size_bytes = source.stat().st_size
    if size_bytes == 0:
        raise FileError("corrupted_file", "the file is empty")
    if size_bytes > limits.max_file_bytes:
        raise FileError("file_too_large", f"{size_bytes} bytes, {limits.max_file_bytes} are allowed")
    _check_comment_count(comment_count(source))
    if (stripped := stripped_bytes(source)) > _MAX_STRIPPED_BYTES:
        raise FileError("invalid_format", f"{stripped} bytes per packet removed, {_MAX_STRIPPED_BYTES} are allowed")
    try:
        with open_media(source) as container:
            parts = (container, *container.streams)
            _check_comment_count(max(len(part.metadata) for part in parts))
            declared_s = _declared_seconds(container, source)
            channels = max(stream.channels for stream in audio_tracks(container))
            if declared_s is not None and declared_s > limits.max_duration_s:
                _check_packets(container, limits.max_duration_s)
                declared_s = None
    except av.error.FFmpegError as exc:
        raise unreadable_error(source, exc) from exc
    return Probe(size_bytes=size_bytes, declared_s=declared_s, channels=channels, layout=read_layout(source))


def _check_comment_count(count: int) -> None:
    if count > _MAX_COMMENTS:
        raise FileError("invalid_format", f"{count} comments, {_MAX_COMMENTS} are allowed")


def unreadable_error(source: Source, cause: Exception) -> FileError:
    """Return `corrupted_file` for a file that can't be opened, or `invalid_format` if it never was a recording."""
    with source.open("rb") as file:
        kind = content_kind(file.read(HEAD_BYTES))
    if kind in ("text", "foreign"):
        return FileError("invalid_format", f"{kind} content")
    return FileError("corrupted_file", reason(cause))


def reason(cause: Exception) -> str:
    """Describe why libav failed on a file."""
    if isinstance(cause, MemoryError):
        return f"it needs more than {_MAX_ALLOCATION_BYTES} bytes of memory at once"
    return str(cause)


def _declared_seconds(container: InputContainer, source: Source) -> float | None:
    stream = audio_stream(container)
    name = container.format.name
    if name == "mp3":
        return mp3_counted_s(source)
    if name in _GUESSED_DURATION:
        return None
    durations_s = [0.0] if container.duration is None else [container.duration / av.time_base]
    if stream.duration is not None and stream.time_base is not None:
        durations_s.append(float(stream.duration * stream.time_base))
    start_s = (container.start_time or 0) / av.time_base if name in _DURATION_IS_END else 0.0
    return max(0.0, max(durations_s) - max(0.0, start_s)) or None


def _check_packets(container: InputContainer, max_duration_s: float) -> None:
    """Raise `duration_exceeded` if the packets are too long as well, and not the declared duration alone."""
    total_s = 0.0
    for packet in read_packets(container, audio_stream(container)):
        if packet.duration is not None and packet.time_base is not None:
            total_s += float(packet.duration * packet.time_base)
        if total_s > max_duration_s:
            raise FileError("duration_exceeded", f"more than {max_duration_s:.0f} s are allowed")
