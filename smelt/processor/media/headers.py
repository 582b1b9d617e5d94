"""Reads headers that libav does not report: the parts of a joined file, and whether bytes are missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from smelt.processor.media.source import Source

# Streaming writers leave the size of a RIFF file at its maximum, or at half of it.
_STREAMED_RIFF_BYTES: Final = 0x7FFF_0000
_MAX_PARTS: Final = 1000
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
# The elements that contain that of the removed bytes: tracks, a track, its encodings, an encoding, its compression.
_TO_STRIPPED: Final = frozenset({_SEGMENT, b"\x16\x54\xae\x6b", b"\xae", b"\x6d\x80", b"\x62\x40", b"\x50\x34"})
_STRIPPED: Final = b"\x42\x55"
_MAX_ELEMENTS: Final = 10_000
_ELEMENT_HEAD_BYTES: Final = 12
_ID3_HEAD_BYTES: Final = 10
_MAX_TAGS: Final = 10
_SYNC_SEARCH_BYTES: Final = 4096
_OGG_HEAD_BYTES: Final = 27
# 12 hours of pages with a packet each.
_MAX_PAGES: Final = 2_200_000
_BLOCK_HEAD_BYTES: Final = 4
_FLAC_COMMENT: Final = 4
# Its length alone.
_MIN_COMMENT_BYTES: Final = 4
_MAX_METADATA_BLOCKS: Final = 1000
# The comments are the second packet of an Ogg file, after a short one.
_OGG_SEARCH_BYTES: Final = 4096
_OGG_COMMENTS: Final = (b"\3vorbis", b"OpusTags")
_MPEG_1: Final = 3
# By version (2.5, reserved, 2, 1) and the bits of the header.
_SAMPLE_RATES: Final = {
    (version, bits): rate // {_MPEG_1: 1, 2: 2, 0: 4}[version]
    for version in (0, 2, _MPEG_1)
    for bits, rate in enumerate((44_100, 48_000, 32_000))
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The starts of the recordings in a file, the bytes missing at its end, and whether its length is too small.

    Files that were joined byte by byte have several parts.
    """

    part_starts: tuple[int, ...] = (0,)
    missing_bytes: int = 0
    ignore_length: bool = False


def read_layout(source: Source) -> Layout:
    """Return the layout of a file that has its size in its header: WAV and Matroska."""
    size_bytes = source.stat().st_size
    with source.open("rb") as file:
        head = file.read(64)
        if _riff_bytes(head) is not None:
            return _riff_layout(file, size_bytes)
    return Layout(missing_bytes=max(0, (_segment_end(head) or 0) - size_bytes))


def _riff_layout(file: BinaryIO, size_bytes: int) -> Layout:
    starts, end = [0], 0
    while len(starts) < _MAX_PARTS:
        file.seek(starts[-1])
        declared_bytes = _riff_bytes(file.read(12))
        assert declared_bytes is not None
        if declared_bytes >= _STREAMED_RIFF_BYTES:
            return Layout(part_starts=tuple(starts))
        end = starts[-1] + declared_bytes
        file.seek(end)
        if _riff_bytes(file.read(12)) is None:
            break
        starts.append(end)
    return Layout(
        part_starts=tuple(starts),
        missing_bytes=max(0, end - size_bytes - 1),
        # A recorder that was killed leaves the size that it had written first.
        ignore_length=end - starts[-1] < (size_bytes - starts[-1]) / 2,
    )


def _riff_bytes(head: bytes) -> int | None:
    return int.from_bytes(head[4:8], "little") + 8 if head[:4] == b"RIFF" and head[8:12] == b"WAVE" else None


def _segment_end(head: bytes) -> int | None:
    """Return where the segment of a Matroska file ends; None if that is unknown, as in a live recording."""
    if head[:4] != _EBML:
        return None
    start = head.find(_SEGMENT) + len(_SEGMENT)
    if start < len(_SEGMENT) or start >= len(head) or not head[start]:
        return None
    length = 9 - head[start].bit_length()
    size = int.from_bytes(head[start : start + length], "big") & ((1 << 7 * length) - 1)
    return None if size == (1 << 7 * length) - 1 else start + length + size


def stripped_bytes(source: Source) -> int:
    """Return how many bytes a Matroska file has removed from each packet, for the reader to add; 0 for other files."""
    found, position = 0, 0
    with source.open("rb") as file:
        for _ in range(_MAX_ELEMENTS):
            file.seek(position)
            head = file.read(_ELEMENT_HEAD_BYTES)
            id_bytes = 9 - head[0].bit_length() if head else _ELEMENT_HEAD_BYTES
            if head[id_bytes : id_bytes + 1] in (b"", b"\0") or (not position and head[:4] != _EBML):
                break
            content_bytes = 9 - head[id_bytes].bit_length()
            size = int.from_bytes(head[id_bytes:][:content_bytes], "big") & ((1 << 7 * content_bytes) - 1)
            if head[:id_bytes] == _STRIPPED:
                found = max(found, size)
            position += id_bytes + content_bytes + (0 if head[:id_bytes] in _TO_STRIPPED else size)
    return found


def comment_count(source: Source) -> int:
    """Return the number of comments that a FLAC or Ogg file declares in its header; 0 for other files."""
    with source.open("rb") as file:
        start = id3_bytes(file.read(_ID3_HEAD_BYTES))
        file.seek(start)
        if (magic := file.read(4)) == b"fLaC":
            return sum(_flac_comment_counts(file, start + len(magic)))
        file.seek(0)
        data = file.read(_OGG_SEARCH_BYTES) if magic == b"OggS" else b""
        starts = [found + len(name) for name in _OGG_COMMENTS if (found := data.find(name)) >= 0]
        return sum(_declared_count(file, at, source.stat().st_size) for at in starts)


def _flac_comment_counts(file: BinaryIO, start: int) -> Iterator[int]:
    """Yield the number of comments of each block of metadata."""
    for _ in range(_MAX_METADATA_BLOCKS):
        file.seek(start)
        if len(head := file.read(_BLOCK_HEAD_BYTES)) < _BLOCK_HEAD_BYTES:
            return
        start += _BLOCK_HEAD_BYTES
        size_bytes = int.from_bytes(head[1:], "big")
        if head[0] & 127 == _FLAC_COMMENT:
            yield _declared_count(file, start, size_bytes)
        if head[0] & 128:
            return
        start += size_bytes


def _declared_count(file: BinaryIO, start: int, size_bytes: int) -> int:
    """Return the number of comments that is declared after the name of the vendor, at most as many as fit."""
    file.seek(start)
    file.seek(int.from_bytes(file.read(4), "little"), 1)
    return min(int.from_bytes(file.read(4), "little"), size_bytes // _MIN_COMMENT_BYTES)


def mp3_counted_s(source: Source) -> float | None:
    """Return the duration of an MP3 file by the count of its first frame; None without one, when libav guesses."""
    with source.open("rb") as file:
        start = 0
        for _ in range(_MAX_TAGS):
            file.seek(start)
            if not (tag := id3_bytes(file.read(_ID3_HEAD_BYTES))):
                break
            start += tag
        file.seek(start)
        return _counted_s(file.read(_SYNC_SEARCH_BYTES))


def id3_bytes(head: bytes) -> int:
    """Return the size of the ID3 tag that starts here, 0 if none does."""
    if len(head) < _ID3_HEAD_BYTES or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:_ID3_HEAD_BYTES]:
        size = size << 7 | byte & 127
    return _ID3_HEAD_BYTES + size


def _counted_s(data: bytes) -> float | None:
    start = next((n for n in range(len(data) - 3) if data[n] == 0xFF and data[n + 1] & 0xE6 == 0xE2), None)
    if start is None:
        return None
    version, mono = data[start + 1] >> 3 & 3, data[start + 3] >> 6 == 3
    rate = _SAMPLE_RATES.get((version, data[start + 2] >> 2 & 3))
    mpeg_1 = version == _MPEG_1
    side_bytes = (17 if mono else 32) if mpeg_1 else (9 if mono else 17)
    tag = data[start + 4 + side_bytes :][:12]
    if rate is None or tag[:4] not in (b"Xing", b"Info") or len(tag) < 12 or not tag[7] & 1:
        return None
    return int.from_bytes(tag[8:], "big") * (1152 if mpeg_1 else 576) / rate


def has_lost_pages(source: Source) -> bool:
    """Return True if pages of an Ogg file are missing or damaged: a gap in it is then not a pause."""
    numbers: dict[bytes, int] = {}
    with source.open("rb") as file:
        for _ in range(_MAX_PAGES):
            if len(head := file.read(_OGG_HEAD_BYTES)) < _OGG_HEAD_BYTES:
                break
            serial, number = head[14:18], int.from_bytes(head[18:22], "little")
            first = bool(head[5] & 2)
            if head[:4] != b"OggS" or (not first and number != numbers.get(serial, number - 1) + 1):
                return True
            numbers[serial] = number
            file.seek(sum(file.read(head[26])), 1)
    return False
