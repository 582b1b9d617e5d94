"""A small file never takes much memory; intact recordings are accepted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import smelt.processor.media.decode as decode_module
import smelt.processor.media.probe as probe_module
from smelt.processor.errors import FileError
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import Recording
from tests.unit.processor import bombs
from tests.unit.processor.audio_samples import LIMITS, RECORDINGS

MAX_GROWTH_BYTES = 150 * 1024**2


def written(folder: Path, content: bytes) -> Path:
    path = folder / "recording"
    path.write_bytes(content)
    return path


def read(source: Path) -> Recording:
    return decode_to_pcm(source, source.with_suffix(".pcm"), probe(source, LIMITS), LIMITS, lambda _: None)


def code_of(source: Path) -> str:
    with pytest.raises(FileError) as error:
        read(source)
    return error.value.code


def measured(source: Path) -> tuple[str, int]:
    command = [sys.executable, "-m", "tests.unit.processor.measured_decoding", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    result = json.loads(done.stdout)
    return result["outcome"], result["growth_bytes"]


@pytest.mark.parametrize("name", bombs.BOMBS)
def test_memory_is_bounded_for_small_file(name: str, tmp_path: Path) -> None:
    build, expected = bombs.BOMBS[name]
    outcome, growth_bytes = measured(written(tmp_path, build()))
    assert growth_bytes < MAX_GROWTH_BYTES
    assert outcome == expected


def test_memory_is_bounded_for_long_recording(tmp_path: Path) -> None:
    outcome, growth_bytes = measured(written(tmp_path, bombs.flac(8000, 40_000, 720)))
    assert outcome == "decoded"
    assert growth_bytes < MAX_GROWTH_BYTES


@pytest.mark.parametrize("count", [2000, 2001])
@pytest.mark.parametrize("name", ["flac", "mp3"])
def test_comments_are_limited(name: str, count: int, tmp_path: Path) -> None:
    sound = (RECORDINGS / "action_item.mp3").read_bytes()
    source = written(tmp_path, bombs.commented_flac(count) if name == "flac" else bombs.commented_mp3(count, sound))
    if count > 2000:
        with pytest.raises(FileError, match=rf"invalid_format: {count} comments, 2000 are allowed"):
            read(source)
    else:
        assert read(source).duration_s > 1


def test_comments_of_flac_are_counted_before_libav_reads_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe_module, "open_media", None)
    assert code_of(written(tmp_path, bombs.commented_flac(50_000))) == "invalid_format"


@pytest.mark.parametrize("stripped", [4, 1024])
def test_packets_with_short_stripped_headers_decode(stripped: int, tmp_path: Path) -> None:
    samples = 255 * (stripped + 1)
    content = bombs.stripped_matroska(stripped, 3)
    assert read(written(tmp_path, content)).duration_s == pytest.approx(3 * samples / 48_000, abs=0.01)


@pytest.mark.parametrize("rate", [1, 3999, 768_001, 2**31 - 1])
def test_sample_rate_out_of_bounds_is_rejected(rate: int, tmp_path: Path) -> None:
    assert code_of(written(tmp_path, bombs.wav(bytes(100_000), rate))) == "invalid_format"


def test_sample_rate_of_frames_counts_when_the_header_has_another(tmp_path: Path) -> None:
    stream = bombs.flac(64, 65_535, 3)
    hidden = bombs.matroska([stream[42:56]], 48_000, codec=b"A_FLAC", private=stream[:42])
    assert code_of(written(tmp_path, hidden)) == "invalid_format"


@pytest.mark.parametrize("rate", [4000, 8000, 16_000, 44_100, 96_000, 192_000, 384_000, 768_000])
def test_sample_rates_of_real_recordings_decode(rate: int, tmp_path: Path) -> None:
    assert read(written(tmp_path, bombs.wav(bytes(rate * 2), rate))).duration_s == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("channels", [25, 64, 65_535])
def test_channel_count_out_of_bounds_is_rejected(channels: int, tmp_path: Path) -> None:
    assert code_of(written(tmp_path, bombs.wav(bytes(channels * 800), 8000, channels))) == "invalid_format"


@pytest.mark.parametrize("channels", [1, 2, 6, 8, 16, 24])
def test_channel_counts_of_real_recordings_decode(channels: int, tmp_path: Path) -> None:
    content = bombs.wav(bytes(channels * 2 * 8000), 8000, channels)
    assert read(written(tmp_path, content)).duration_s == pytest.approx(1, abs=0.01)


def test_frame_longer_than_a_minute_is_rejected(tmp_path: Path) -> None:
    assert code_of(written(tmp_path, bombs.matroska([bytes(8000 * 61)], 8000))) == "invalid_format"


@pytest.mark.parametrize(("rate", "channels", "packet_s"), [(8000, 1, 60), (48_000, 2, 10), (384_000, 2, 10)])
def test_long_packets_of_real_muxers_decode(rate: int, channels: int, packet_s: int, tmp_path: Path) -> None:
    packet = bytes(rate * channels * 2 * packet_s)
    content = bombs.matroska([packet, packet], rate, channels=channels, bits=16)
    assert read(written(tmp_path, content)).duration_s == pytest.approx(2 * packet_s, abs=0.01)


def test_unknown_codec_is_rejected(tmp_path: Path) -> None:
    content = bombs.matroska([bombs.SAMPLES], 48_000, codec=b"A_UNKNOWN")
    assert code_of(written(tmp_path, content)) == "invalid_format"


def test_decoding_has_a_time_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decode_module, "_MAX_PROCESSOR_S", -1.0)
    probed = probe(RECORDINGS / "action_item.m4a", LIMITS)
    with pytest.raises(FileError) as error:
        decode_to_pcm(RECORDINGS / "action_item.m4a", tmp_path / "pcm", probed, LIMITS, lambda _: None)
    assert error.value.code == "decoding_failed"
