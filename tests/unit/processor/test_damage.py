"""A partly damaged file completes: its damaged parts are silence at their place, and are reported."""

import logging
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import smelt.processor.media.packets as packets_module
from smelt.processor.errors import FileError
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import DecodingReport
from smelt.processor.media.values import bytes_needed
from tests.unit.processor.audio_samples import LIMITS, RECORDINGS
from tests.unit.processor.media_samples import Track, decoded, loud_parts, near, silence, tone, write

DURATION_S = 4.14


def damaged(source: Path, target: Path, damage: Callable[[bytes], bytes]) -> Path:
    target.write_bytes(damage(source.read_bytes()))
    return target


def noise(data: bytes, start: float, end: float) -> bytes:
    """Overwrite a part of a file, from and to shares of its size."""
    first, last = (int(len(data) * share) for share in (start, end))
    return data[:first] + np.random.default_rng(1).bytes(last - first) + data[last:]


@pytest.mark.parametrize(
    ("suffix", "codec"), [("m4a", "aac"), ("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus")]
)
def test_damaged_part_is_silence_at_its_place(suffix: str, codec: str, tmp_path: Path) -> None:
    # Noise, so that all seconds take the same number of bytes: without a container, time is estimated by bytes.
    sound = np.concatenate([tone(10), silence(10), tone(10)], axis=1)
    sound += np.random.default_rng(2).normal(0, 0.01, sound.shape).astype(np.float32)
    options = {"page_duration": "100000"} if suffix == "ogg" else {}
    whole = write(tmp_path / f"whole.{suffix}", Track(sound, codec), options=options)
    recording = decoded(damaged(whole, tmp_path / f"x.{suffix}", lambda data: noise(data, 0.1, 0.25)))
    assert loud_parts(recording)[-1][0] == pytest.approx(20, abs=0.5)
    assert recording.duration_s == pytest.approx(30, abs=0.5)
    trust = recording.report.trust()
    assert 1 < trust["damaged_seconds"] < 12
    assert all(0.5 < start < end < 14 for start, end in trust["damaged"])
    for start, end in trust["damaged"]:
        assert not [part for part in loud_parts(recording) if start + 0.1 < part[0] < end - 0.1]


def test_damaged_raw_aac_keeps_what_is_intact(tmp_path: Path) -> None:
    # Its demuxer skips bytes and does not report them, so the exact time is lost.
    whole = write(tmp_path / "whole.aac", Track(tone(30), "aac"))
    recording = decoded(damaged(whole, tmp_path / "x.aac", lambda data: noise(data, 0.1, 0.25)))
    assert 25 < recording.duration_s < 31
    assert recording.report.damaged[0][0] == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "webm", "mp3"])
def test_truncated_recording_keeps_its_start_and_reports_the_missing_end(suffix: str, tmp_path: Path) -> None:
    source = RECORDINGS / f"action_item.{suffix}"
    recording = decoded(damaged(source, tmp_path / f"x.{suffix}", lambda data: data[: len(data) // 2]))
    assert 1 < recording.duration_s < 3
    ((start, end),) = recording.report.damaged
    assert start == pytest.approx(recording.duration_s, abs=0.1)
    assert end == pytest.approx(DURATION_S, abs=0.1)


def test_truncated_mp4_with_its_index_in_front_reports_the_missing_end(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.m4a", Track(tone(10), "aac"), options={"movflags": "faststart"})
    recording = decoded(damaged(whole, tmp_path / "x.m4a", lambda data: data[: len(data) * 6 // 10]))
    ((start, end),) = recording.report.damaged
    assert (start, end) == (pytest.approx(recording.duration_s, abs=0.1), pytest.approx(10, abs=0.1))


@pytest.mark.parametrize("suffix", ["ogg", "webm"])
def test_truncated_live_recording_of_unknown_length_reports_nothing(suffix: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole.{suffix}", Track(tone(10), "libopus"), options={"live": "1"})
    recording = decoded(damaged(whole, tmp_path / f"x.{suffix}", lambda data: data[: len(data) // 2]))
    assert 3 < recording.duration_s < 7
    assert recording.report.trust() == {}


def test_truncated_mp4_without_its_index_is_corrupted_file(tmp_path: Path) -> None:
    source = RECORDINGS / "action_item.m4a"
    with pytest.raises(FileError) as error:
        decoded(damaged(source, tmp_path / "x.m4a", lambda data: data[: len(data) // 2]))
    assert error.value.code == "corrupted_file"


def test_matroska_that_can_not_be_read_further_reports_the_rest(tmp_path: Path) -> None:
    recording = decoded(damaged(RECORDINGS / "action_item.webm", tmp_path / "x.webm", lambda d: noise(d, 0.33, 0.66)))
    ((start, end),) = recording.report.damaged
    assert (start, end) == (pytest.approx(recording.duration_s, abs=0.1), pytest.approx(DURATION_S, abs=0.1))


@pytest.mark.parametrize("name", ["mp3", "aac"])
def test_file_of_noise_behind_a_frame_is_decoding_failed(name: str, tmp_path: Path) -> None:
    codec = {"mp3": "libmp3lame", "aac": "aac"}[name]
    whole = write(tmp_path / f"whole.{name}", Track(tone(5), codec))
    with pytest.raises(FileError) as error:
        decoded(damaged(whole, tmp_path / f"x.{name}", lambda data: data[:2000] + noise(bytes(3_000_000), 0, 1)))
    assert error.value.code == "decoding_failed"


def test_file_without_a_good_packet_is_corrupted_file(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.m4a", Track(tone(5), "aac"))

    def overwritten(data: bytes) -> bytes:
        start = data.index(b"mdat") + 4
        return data[:start] + b"\xff" * (data.index(b"moov") - start) + data[data.index(b"moov") :]

    with pytest.raises(FileError) as error:
        decoded(damaged(whole, tmp_path / "x.m4a", overwritten))
    assert error.value.code in {"corrupted_file", "decoding_failed"}


def test_recording_ends_where_reading_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = packets_module.PacketReader.read
    source = write(tmp_path / "x.ogg", Track(tone(5), "libopus"))

    def failing(error: Exception) -> None:
        def read_some(reader: packets_module.PacketReader) -> object:
            for number, packet in enumerate(read(reader)):
                if number == 100:
                    raise error
                yield packet

        monkeypatch.setattr(packets_module.PacketReader, "read", read_some)

    failing(av.error.InvalidDataError(0, "broken"))
    with caplog.at_level(logging.INFO):
        assert decoded(source).duration_s == pytest.approx(2, abs=0.05)
    assert "stopped reading" in caplog.text
    failing(av.error.MemoryError(12, "no memory"))
    with pytest.raises(FileError) as error:
        decoded(source)
    assert error.value.code == "decoding_failed"


def test_report_lists_only_what_was_found() -> None:
    assert DecodingReport().trust() == {}
    full = DecodingReport(damaged=((1.0, 2.5), (4.0, 4.25)), clock_jumps=2, track=2, track_count=3, channel=1)
    assert full.trust() == {
        "damaged_seconds": 1.75,
        "damaged": [[1.0, 2.5], [4.0, 4.25]],
        "clock_jumps": 2,
        "track": 2,
        "track_count": 3,
        "channel": 1,
    }


def test_space_for_a_gap_is_reserved(tmp_path: Path) -> None:
    source = write(tmp_path / "x.webm", Track(tone(6), "libopus", shift=lambda t: 50.0 if t > 2 else 0.0))
    recording = decoded(source)
    assert recording.sample_count * 2 <= bytes_needed(probe(source, LIMITS), LIMITS)
    assert loud_parts(recording) == near([(0, 2), (52, 56)])
