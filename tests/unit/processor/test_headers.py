"""The parts of a joined file and missing bytes are found in headers."""

import struct
from pathlib import Path

import pytest

import smelt.processor.media.headers as headers_module
from smelt.processor.media.headers import (
    Layout,
    comment_count,
    has_lost_pages,
    id3_bytes,
    mp3_counted_s,
    read_layout,
    stripped_bytes,
)
from tests.unit.processor import bombs
from tests.unit.processor.audio_samples import RECORDINGS

WAV = bombs.wav(bytes(1000), 8000)
EBML = b"\x1a\x45\xdf\xa3\x80"
SEGMENT = b"\x18\x53\x80\x67"


def written(folder: Path, content: bytes) -> Path:
    path = folder / "x"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (WAV, Layout()),
        (WAV * 3, Layout(part_starts=(0, len(WAV), 2 * len(WAV)))),
        (WAV[:-100], Layout(missing_bytes=99)),
        (WAV + WAV[:-100], Layout(part_starts=(0, len(WAV)), missing_bytes=99)),
        (WAV[:4] + b"\xff\xff\xff\xff" + WAV[8:], Layout()),
        (WAV[:4] + bytes(4) + WAV[8:], Layout(ignore_length=True)),
        (WAV + bytes(100), Layout()),
        (b"fLaC", Layout()),
        (b"", Layout()),
        (EBML + SEGMENT + b"\x84abcd", Layout()),
        (EBML + SEGMENT + b"\x88abcd", Layout(missing_bytes=4)),
        (EBML + SEGMENT + b"\x01\0\0\0\0\0\0\x08abcd", Layout(missing_bytes=4)),
        (EBML + SEGMENT + b"\xff" + b"abcd", Layout()),
        (EBML + SEGMENT + b"\x01" + b"\xff" * 7 + b"abcd", Layout()),
        (EBML + SEGMENT + b"\0abcd", Layout()),
        (EBML + SEGMENT, Layout()),
        (EBML + b"abcd", Layout()),
    ],
)
def test_layout_of_a_file(content: bytes, layout: Layout, tmp_path: Path) -> None:
    assert read_layout(written(tmp_path, content)) == layout


def test_parts_of_a_file_are_bounded(tmp_path: Path) -> None:
    empty = bombs.wav(b"", 8000)
    assert len(read_layout(written(tmp_path, empty * 5000)).part_starts) == 1000


def frame(version: int, mode: int, tag: bytes, rate: int = 0) -> bytes:
    side = {(3, False): 32, (3, True): 17}.get((version, mode == 3), 9 if mode == 3 else 17)
    return bytes([0xFF, 0xE3 | version << 3, 0x90 | rate << 2, mode << 6]) + bytes(side) + tag


XING = b"Xing" + struct.pack(">II", 1, 1000)


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (frame(3, 0, XING), 1000 * 1152 / 44_100),
        (frame(3, 3, XING, 1), 1000 * 1152 / 48_000),
        (frame(2, 0, XING), 1000 * 576 / 22_050),
        (frame(0, 3, XING, 2), 1000 * 576 / 8000),
        (bombs.id3(b"x" * 300) * 2 + frame(3, 0, XING), 1000 * 1152 / 44_100),
        (frame(3, 0, b"Info" + XING[4:]), 1000 * 1152 / 44_100),
        (frame(3, 0, b"Xing" + bytes(8)), None),
        (frame(3, 0, b"Xing"), None),
        (frame(3, 0, b"LAME" + XING[4:]), None),
        (frame(3, 0, XING, 3), None),
        (frame(3, 0, bytes(100)) + b"Info" + XING[4:], None),
        (b"no frame at all", None),
        (b"", None),
    ],
)
def test_mp3_duration_is_counted_by_its_first_frame_only(content: bytes, seconds: float | None, tmp_path: Path) -> None:
    assert mp3_counted_s(written(tmp_path, content)) == (None if seconds is None else pytest.approx(seconds))


def test_number_of_tags_is_bounded(tmp_path: Path) -> None:
    assert mp3_counted_s(written(tmp_path, bombs.id3(b"x" * 5000) * 11 + frame(3, 0, XING))) is None


def test_id3_size_has_seven_bits_a_byte() -> None:
    assert id3_bytes(b"ID3\4\0\0\0\0\x02\x01") == 10 + 257
    assert id3_bytes(b"ID3\4\0\0\0\0") == 0
    assert id3_bytes(b"RIFF\0\0\0\0\0\0") == 0


def test_lost_pages_of_an_ogg_file_are_found(tmp_path: Path) -> None:
    whole = (RECORDINGS / "action_item.ogg").read_bytes()
    second = whole.index(b"OggS", whole.index(b"OggS", 1) + 1)
    third = whole.index(b"OggS", second + 1)
    assert not has_lost_pages(written(tmp_path, whole))
    assert not has_lost_pages(written(tmp_path, whole + whole))
    assert not has_lost_pages(written(tmp_path, whole[: len(whole) // 2]))
    assert has_lost_pages(written(tmp_path, whole[:second] + whole[third:]))
    assert has_lost_pages(written(tmp_path, whole[:second] + b"junk" * 100 + whole[second:]))


def test_number_of_checked_pages_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers_module, "_MAX_PAGES", 2)
    whole = (RECORDINGS / "action_item.ogg").read_bytes()
    second = whole.index(b"OggS", whole.index(b"OggS", 1) + 1)
    assert not has_lost_pages(written(tmp_path, whole[:second] + b"junk" * 100 + whole[second:]))


@pytest.mark.parametrize(
    ("content", "stripped"),
    [
        (bombs.stripped_matroska(4_000_000, 1), 4_000_000),
        (bombs.stripped_matroska(4_000_000, 1)[:400], 4_000_000),
        (bombs.stripped_matroska(3, 1), 3),
        (bombs.zlib_matroska(bytes(100), 8000), 0),
        (b"\x42\x55\x48\x00", 0),
        (EBML + b"\xec\x80" * 20_000 + b"\x42\x55\x48\x00", 0),
        (EBML + b"\x42\x55", 0),
        (EBML + b"\0", 0),
        (EBML, 0),
        (b"", 0),
    ],
)
def test_bytes_that_a_container_removed_are_found(content: bytes, stripped: int, tmp_path: Path) -> None:
    assert stripped_bytes(written(tmp_path, content)) == stripped


VENDOR = struct.pack("<I", 3) + b"abc"
MANY = VENDOR + struct.pack("<I", 900) + bytes(4000)
FLAC_BLOCK = len(MANY).to_bytes(3, "big") + MANY


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (bombs.commented_flac(30), 30),
        (b"fLaC\4" + FLAC_BLOCK + b"\x84" + FLAC_BLOCK, 1800),
        (b"ID3\4\0\0\0\0\0\2xxfLaC\x84" + FLAC_BLOCK, 900),
        (b"fLaC\x84\0\0\x14" + MANY, 5),
        (b"fLaC" + b"\1\0\0\0" * 2000 + b"\4" + FLAC_BLOCK, 0),
        (b"fLaC\1\0", 0),
        (b"fLaC", 0),
        (b"OggS" + bytes(60) + b"\3vorbis" + MANY, 900),
        (b"OggS" + bytes(60) + b"OpusTags" + MANY, 900),
        (b"OggS" + bytes(60) + b"OpusTags" + VENDOR + b"\xff" * 4 + bytes(17), 25),
        (b"OggS", 0),
        (b"", 0),
    ],
)
def test_comments_are_counted_up_to_what_fits(content: bytes, count: int, tmp_path: Path) -> None:
    assert comment_count(written(tmp_path, content)) == count


@pytest.mark.parametrize("name", ["action_item.ogg", "action_item.flac", "action_item.mp3"])
def test_recordings_have_few_comments(name: str) -> None:
    assert comment_count(RECORDINGS / name) < 20
