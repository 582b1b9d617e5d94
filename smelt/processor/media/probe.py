"""Validates media files: whether they can be decoded, and are within the limits.

A small file can request gigabytes: sample rate, channels and each allocation of libav are bounded for any container.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import av
import av._core
from av.audio.stream import AudioStream
from av.container import InputContainer

from smelt.processor.errors import FileError
from smelt.processor.media.sniff import HEAD_BYTES, content_kind

# Telephones record at 8 kHz, the fastest converters at 768 kHz. A second at 1 Hz would become 16,000 samples.
_MIN_SAMPLE_RATE: Final = 4_000
_MAX_SAMPLE_RATE: Final = 768_000
# 22.2 surround sound: the resampler mixes no larger layout down to mono.
_MAX_CHANNELS: Final = 24
# Bounds each allocation of libav: an index of 24 bytes per packet takes 50 MiB for 12 hours.
_MAX_ALLOCATION_BYTES: Final = 64 * 1024 * 1024
_READ_TIMEOUT_S: Final = 60.0
_OPTIONS: Final = {
    # Playlists and scripts (hls, concat, dash, sdp ...) can open other files or the network.
    "protocol_whitelist": "file",
    # No decoder runs while probing: a picture or a second track could allocate any amount of memory.
    "codec_whitelist": "none",
    "format_whitelist": ",".join(
        (
            *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "eac3", "flac", "flv", "matroska", "mov"),
            *("mp3", "mpc", "mpc8", "mpeg", "mpegts", "oga", "ogg", "spx", "tta", "w64", "wav", "webm", "wv"),
        )
    ),
}
_XING_SEARCH_BYTES: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """The limits for the files of a smelt."""

    max_file_bytes: int
    max_duration_s: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The size and the declared duration of a file; `declared_s` is None if the container declares no reliable one."""

    size_bytes: int
    declared_s: float | None


def open_media(path: Path) -> InputContainer:
    """Open a recording for decoding, without following references to other files or the network."""
    _limit_allocations()
    return av.open(str(path), mode="r", options=_OPTIONS, metadata_errors="replace", timeout=_READ_TIMEOUT_S)


@cache
def _limit_allocations() -> None:
    # PyAV does not export this function; look it up in a module that is linked with libavutil.
    ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(_MAX_ALLOCATION_BYTES))


def audio_stream(container: InputContainer) -> AudioStream:
    """Return the stream to decode; raise `invalid_format` if there is none."""
    if not container.streams.audio:
        raise FileError("invalid_format", "no audio stream")
    stream = container.streams.audio[0]
    if not stream.codec_context:
        raise FileError("invalid_format", "no decoder for its audio stream")
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


def probe(path: Path, limits: MediaLimits) -> Probe:
    """Inspect a file without decoding it; raise `FileError` with the matching code if it is rejected."""
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise FileError("corrupted_file", "the file is empty")
    if size_bytes > limits.max_file_bytes:
        raise FileError("file_too_large", f"{size_bytes} bytes, {limits.max_file_bytes} are allowed")
    if missing := _missing_riff_bytes(path, size_bytes):
        raise FileError("corrupted_file", f"{missing} bytes are missing at the end")
    try:
        with open_media(path) as container:
            declared_s = _declared_seconds(container, path)
    except av.error.FFmpegError as exc:
        raise unreadable_error(path, exc) from exc
    if declared_s is not None and declared_s > limits.max_duration_s:
        raise FileError("duration_exceeded", f"{declared_s:.0f} s, {limits.max_duration_s:.0f} s are allowed")
    return Probe(size_bytes=size_bytes, declared_s=declared_s)


def unreadable_error(path: Path, cause: Exception) -> FileError:
    """Return `corrupted_file` for a file that can't be opened, or `invalid_format` if it never was a recording."""
    with path.open("rb") as file:
        kind = content_kind(file.read(HEAD_BYTES))
    if kind in ("text", "foreign"):
        return FileError("invalid_format", f"{kind} content")
    return FileError("corrupted_file", reason(cause))


def reason(cause: Exception) -> str:
    """Describe why libav failed on a file."""
    if isinstance(cause, MemoryError):
        return f"it needs more than {_MAX_ALLOCATION_BYTES} bytes of memory at once"
    if isinstance(cause, av.error.ExitError):
        return f"reading it takes more than {_READ_TIMEOUT_S:.0f} s"
    return str(cause)


def _declared_seconds(container: InputContainer, path: Path) -> float | None:
    stream = audio_stream(container)
    if container.format.name == "mp3" and not _has_frame_count(path):
        return None  # libav estimates from the bit rate of the first frame, far off for a variable rate.
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _has_frame_count(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_XING_SEARCH_BYTES)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _missing_riff_bytes(path: Path, size_bytes: int) -> int:
    """Return how many bytes a WAV lacks according to its header; its demuxer accepts a truncated file."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 0
    declared_bytes = int.from_bytes(head[4:8], "little") + 8
    # Streaming writers leave the size at its maximum, or at half of it.
    return 0 if declared_bytes >= 0x7FFF_0000 else max(0, declared_bytes - size_bytes - 1)
