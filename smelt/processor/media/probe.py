"""Validation: is this a recording that can be decoded, and is it within its limits?

A small file can ask for gigabytes: sample rate, channels and each allocation of libav are bounded, in any container.
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
from smelt.processor.media.sniff import HEAD_BYTES, kind_of

# Telephones record at 8 kHz, the fastest converters at 768 kHz. A second at 1 Hz would become 16,000 samples.
_MIN_SAMPLE_RATE: Final = 4_000
_MAX_SAMPLE_RATE: Final = 768_000
# 22.2 surround sound: the resampler mixes no larger layout down to mono.
_MAX_CHANNELS: Final = 24
# Bounds each block of memory that libav takes: 24 bytes of index for each packet of 12 hours take 50 MiB.
_MAX_ALLOCATION_BYTES: Final = 64 * 1024 * 1024
_READ_TIMEOUT_S: Final = 60.0
_OPTIONS: Final = {
    # Playlists and scripts (hls, concat, dash, sdp ...) would make the decoder open other files or the network.
    "protocol_whitelist": "file",
    # No decoder runs while probing: a picture or a second track could take any amount of memory.
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
    """What the owner of a smelt may have processed."""

    max_file_bytes: int
    max_duration_s: float


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the container says of itself; `declared_s` is None where it says nothing that can be relied on."""

    size_bytes: int
    declared_s: float | None


def open_media(path: Path) -> InputContainer:
    """Open a recording for decoding, without following references to anything outside of it."""
    _limit_allocations()
    return av.open(str(path), mode="r", options=_OPTIONS, metadata_errors="replace", timeout=_READ_TIMEOUT_S)


@cache
def _limit_allocations() -> None:
    # PyAV has no name for it; looked up through the module that is linked with libavutil.
    ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(_MAX_ALLOCATION_BYTES))


def audio_stream(container: InputContainer) -> AudioStream:
    """Return the stream to decode; raise `invalid_format` where there is none that can be decoded."""
    if not container.streams.audio:
        raise FileError("invalid_format", "no audio stream")
    stream = container.streams.audio[0]
    if not stream.codec_context:
        raise FileError("invalid_format", "no decoder for its audio stream")
    if stream.sample_rate:  # Some headers leave it to the frames.
        check_sound(stream.sample_rate, stream.channels)
    return stream


def check_sound(sample_rate: int, channels: int) -> None:
    """Raise `invalid_format` for a sample rate or a number of channels that no recording has."""
    if not _MIN_SAMPLE_RATE <= sample_rate <= _MAX_SAMPLE_RATE:
        bounds = f"{_MIN_SAMPLE_RATE} to {_MAX_SAMPLE_RATE} Hz"
        raise FileError("invalid_format", f"a sample rate of {sample_rate} Hz, {bounds} are allowed")
    if channels > _MAX_CHANNELS:
        raise FileError("invalid_format", f"{channels} channels, {_MAX_CHANNELS} are allowed")


def probe(path: Path, limits: MediaLimits) -> Probe:
    """Look at a file without decoding it; raise `FileError` with the code that tells what is wrong with it."""
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
        raise unreadable(path, exc) from exc
    if declared_s is not None and declared_s > limits.max_duration_s:
        raise FileError("duration_exceeded", f"{declared_s:.0f} s, {limits.max_duration_s:.0f} s are allowed")
    return Probe(size_bytes=size_bytes, declared_s=declared_s)


def unreadable(path: Path, cause: Exception) -> FileError:
    """The fault of a file that no demuxer wants: `invalid_format` if it never was a recording, else damaged."""
    with path.open("rb") as file:
        kind = kind_of(file.read(HEAD_BYTES))
    if kind in ("text", "foreign"):
        return FileError("invalid_format", f"{kind} content")
    return FileError("corrupted_file", reason(cause))


def reason(cause: Exception) -> str:
    """Say why libav gave up on a file."""
    if isinstance(cause, MemoryError):
        return f"it needs more than {_MAX_ALLOCATION_BYTES} bytes of memory at once"
    if isinstance(cause, av.error.ExitError):
        return f"reading it takes more than {_READ_TIMEOUT_S:.0f} s"
    return str(cause)


def _declared_seconds(container: InputContainer, path: Path) -> float | None:
    stream = audio_stream(container)
    if container.format.name == "mp3" and not _has_frame_count(path):
        return None  # An estimate from the bit rate of the first frame, far off with a variable one.
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _has_frame_count(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_XING_SEARCH_BYTES)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _missing_riff_bytes(path: Path, size_bytes: int) -> int:
    """How many bytes a WAV lacks against its own header; its demuxer takes a cut file as a shorter one."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 0
    announced = int.from_bytes(head[4:8], "little") + 8
    # Writers that stream leave the size at its maximum, or at half of it.
    return 0 if announced >= 0x7FFF_0000 else max(0, announced - size_bytes - 1)
