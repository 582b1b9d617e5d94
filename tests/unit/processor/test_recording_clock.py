"""Times in a recording are those of the file's own clock, and no intact file is refused for them."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from smelt.processor.errors import FileError
from smelt.processor.media.probe import probe, read_packets
from smelt.processor.media.values import MediaLimits, bytes_needed
from tests.unit.processor import bombs
from tests.unit.processor.audio_samples import LIMITS, RECORDINGS
from tests.unit.processor.media_samples import Track, decoded, loud_parts, near, silence, tone, write

CODECS = {"m4a": "aac", "mp4": "aac", "mov": "aac", "ts": "aac", "flac": "flac", "mp3": "libmp3lame"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"}


def track(suffix: str, seconds: float = 6.0, shift: Callable[[float], float] = lambda _: 0.0) -> Track:
    return Track(tone(seconds), CODECS.get(suffix, "libopus"), shift=shift)


def gap_after(start_s: float, gap_s: float) -> Callable[[float], float]:
    return lambda time_s: gap_s if time_s >= start_s else 0.0


@pytest.mark.parametrize("suffix", ["ogg", "webm", "mka", "m4a", "ts"])
def test_gap_without_packets_is_silence(suffix: str, tmp_path: Path) -> None:
    recording = decoded(write(tmp_path / f"x.{suffix}", track(suffix, shift=gap_after(2, 10))))
    assert loud_parts(recording) == near([(0, 2), (12, 16)])
    assert recording.report.trust() == {}


def test_gap_of_a_live_webm_without_length_is_silence(tmp_path: Path) -> None:
    live = write(tmp_path / "x.webm", track("webm", shift=gap_after(2, 10)), options={"live": "1"})
    assert probe(live, LIMITS).declared_s is None
    assert loud_parts(decoded(live)) == near([(0, 2), (12, 16)])


def test_many_gaps_do_not_add_up_errors(tmp_path: Path) -> None:
    recording = decoded(write(tmp_path / "x.webm", track("webm", 20, shift=lambda t: int(t) * 0.7)))
    starts = [start for start, _ in loud_parts(recording)]
    assert starts == [pytest.approx(n * 1.7, abs=0.06) for n in range(20)]


def test_jitter_of_live_packets_keeps_the_sound_whole(tmp_path: Path) -> None:
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, 10_000)
    source = write(tmp_path / "x.mka", track("mka", 20, shift=lambda t: float(jitter[round(t * 50)])))
    recording = decoded(source)
    assert recording.duration_s == pytest.approx(20, abs=0.05)
    assert len(loud_parts(recording, min_pause_s=0.02)) == 1


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "mov", "ts"])
def test_sound_after_the_picture_starts_at_its_time(suffix: str, tmp_path: Path) -> None:
    late = write(tmp_path / f"x.{suffix}", track(suffix, shift=lambda _: 5.0), picture_s=14)
    assert loud_parts(decoded(late)) == near([(5, 11)])


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "mov", "ts"])
def test_sound_that_ends_before_the_picture_is_whole(suffix: str, tmp_path: Path) -> None:
    recording = decoded(write(tmp_path / f"x.{suffix}", track(suffix), picture_s=20))
    assert loud_parts(recording) == near([(0, 6)])
    assert recording.duration_s == pytest.approx(6, abs=0.06)
    assert recording.report.trust() == {}


@pytest.mark.parametrize("suffix", ["ogg", "webm", "mka", "m4a", "ts"])
def test_sound_alone_starts_at_its_first_sample(suffix: str, tmp_path: Path) -> None:
    source = write(tmp_path / f"x.{suffix}", track(suffix, shift=lambda _: 3600.0))
    assert probe(source, LIMITS).declared_s == pytest.approx(6, abs=0.1)
    recording = decoded(source)
    assert loud_parts(recording) == near([(0, 6)])
    assert recording.report.clock_jumps == 0


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "ts"])
def test_clock_that_starts_anywhere_is_relative_to_the_picture(suffix: str, tmp_path: Path) -> None:
    source = write(tmp_path / f"x.{suffix}", track(suffix, shift=lambda _: 7202.0), picture_s=9, picture_start_s=7200)
    assert loud_parts(decoded(source)) == near([(2, 8)])


def test_streams_with_unrelated_clocks_start_together(tmp_path: Path) -> None:
    source = write(tmp_path / "x.mkv", track("mkv", shift=lambda _: 9000.0), picture_s=5)
    assert loud_parts(decoded(source)) == near([(0, 6)])


def test_sound_before_the_picture_starts_the_recording(tmp_path: Path) -> None:
    source = write(tmp_path / "x.mkv", track("mkv", shift=lambda _: 0.2), picture_s=5, picture_start_s=3)
    assert loud_parts(decoded(source)) == near([(0, 6)])


@pytest.mark.parametrize("suffix", ["m4a", "ogg", "webm", "mp3"])
def test_priming_of_the_encoder_is_no_silence(suffix: str, tmp_path: Path) -> None:
    recording = decoded(write(tmp_path / f"x.{suffix}", track(suffix)))
    assert loud_parts(recording) == near([(0, 6)], 0.03)


def test_fragmented_mp4_from_a_live_stream_starts_at_its_first_sample(tmp_path: Path) -> None:
    source = write(tmp_path / "x.mp4", track("mp4", shift=lambda _: 3600.0), options=FRAGMENTED)
    assert loud_parts(decoded(source)) == near([(0, 6)])


def test_edit_list_that_trims_the_start_is_followed(tmp_path: Path) -> None:
    sound = np.concatenate([tone(2), silence(2), tone(4)], axis=1)
    content = write(tmp_path / "whole.m4a", Track(sound, "aac")).read_bytes()
    place = content.index(b"elst") + 8
    count, length, start = struct.unpack(">III", content[place : place + 12])
    assert count == 1
    moved = struct.pack(">III", 1, length - 3000, start + 3 * 48_000)
    (tmp_path / "trimmed.m4a").write_bytes(content[:place] + moved + content[place + 12 :])
    recording = decoded(tmp_path / "trimmed.m4a")
    assert loud_parts(recording) == near([(1, 5)])
    assert recording.report.trust() == {}


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "wav", "flac"])
def test_joined_files_lose_no_sound(suffix: str, tmp_path: Path) -> None:
    one = RECORDINGS / f"action_item.{suffix}"
    joined = tmp_path / f"x.{suffix}"
    joined.write_bytes(one.read_bytes() * 3)
    recording = decoded(joined)
    assert recording.duration_s == pytest.approx(3 * decoded_once(one, tmp_path), abs=0.2)
    assert recording.report.damaged == ()


def decoded_once(source: Path, folder: Path) -> float:
    copy = folder / f"once{source.suffix}"
    copy.write_bytes(source.read_bytes())
    return decoded(copy).duration_s


def test_joined_mp3_with_a_cover_between_is_not_damaged(tmp_path: Path) -> None:
    one = write(tmp_path / "one.mp3", track("mp3")).read_bytes()
    (tmp_path / "x.mp3").write_bytes(one + bombs.id3(np.random.default_rng(2).bytes(400_000)) + one)
    recording = decoded(tmp_path / "x.mp3")
    assert recording.duration_s == pytest.approx(12, abs=0.2)
    assert recording.report.trust() == {}


def test_clock_that_steps_back_loses_no_sound_and_is_reported(tmp_path: Path) -> None:
    one = write(tmp_path / "one.webm", track("webm")).read_bytes()
    (tmp_path / "x.webm").write_bytes(one + one)
    recording = decoded(tmp_path / "x.webm")
    assert recording.duration_s == pytest.approx(12, abs=0.1)
    assert recording.report.trust() == {"clock_jumps": 1}


def test_jump_beyond_the_maximum_duration_is_reported_and_not_filled(tmp_path: Path) -> None:
    source = write(tmp_path / "x.webm", track("webm", shift=gap_after(3, 5000)))
    recording = decoded(source, MediaLimits(max_file_bytes=10**9, max_duration_s=3600))
    assert loud_parts(recording) == near([(0, 6)])
    assert recording.report.trust() == {"clock_jumps": 1}


def test_jump_that_leaves_no_room_for_the_rest_is_not_filled(tmp_path: Path) -> None:
    shift = lambda t: 5.0 if 1 <= t < 3 else 3597.0 if t >= 3 else 0.0  # noqa: E731
    source = write(tmp_path / "x.webm", track("webm", shift=shift))
    recording = decoded(source, MediaLimits(max_file_bytes=10**9, max_duration_s=3602))
    assert loud_parts(recording) == near([(0, 1), (6, 11)])
    assert recording.report.trust() == {"clock_jumps": 1}


def test_maximum_duration_counts_filled_silence(tmp_path: Path) -> None:
    source = write(tmp_path / "x.webm", track("webm", 30, shift=gap_after(5, 15)), options={"live": "1"})
    limits = MediaLimits(max_file_bytes=10**9, max_duration_s=40)
    with pytest.raises(FileError) as error:
        decoded(source, limits)
    assert error.value.code == "duration_exceeded"
    assert (tmp_path / "x.webm.pcm").stat().st_size <= bytes_needed(probe(source, limits), limits)


@pytest.mark.parametrize("seconds", [0.2, 1, 3])
def test_raw_aac_that_begins_with_zeros_decodes(seconds: float, tmp_path: Path) -> None:
    sound = np.concatenate([silence(seconds, 44_100), tone(10, 44_100)], axis=1)
    source = write(tmp_path / "x.aac", Track(sound, "aac", rate=44_100))
    recording = decoded(source)
    assert loud_parts(recording) == near([(seconds, seconds + 10)], 0.1)
    assert recording.report.trust() == {}


def test_vbr_mp3_with_info_in_a_title_is_not_truncated(tmp_path: Path) -> None:
    sound = np.concatenate(
        [tone(1, amplitude=1e-4), tone(20) * np.random.default_rng(1).uniform(0, 1, 960_000)], axis=1
    )
    whole = write(tmp_path / "x.mp3", Track(sound.astype(np.float32), "libmp3lame"), options={"write_xing": "0"})
    frame = b"TIT2\0\0\0\x16\0\0\3More Info on our page"
    whole.write_bytes(b"ID3\4\0\0\0\0\0" + bytes([len(frame)]) + frame + whole.read_bytes())
    recording = decoded(whole)
    assert probe(whole, LIMITS).declared_s is None
    assert recording.duration_s == pytest.approx(21, abs=0.2)
    assert recording.report.trust() == {}


@pytest.mark.parametrize("declared_s", [0.5, 6 * 60, 100 * 3600])
def test_wrong_length_in_a_matroska_header_is_ignored(declared_s: float, tmp_path: Path) -> None:
    source = write(tmp_path / "x.mka", track("mka"))
    content = source.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3
    source.write_bytes(content[:place] + struct.pack(">d", declared_s * 1000) + content[place + 8 :])
    recording = decoded(source)
    assert recording.duration_s == pytest.approx(6, abs=0.05)
    assert recording.report.trust() == {}


@pytest.mark.parametrize("declared_bytes", [0, 1000, 0xFFFF_FFFF])
def test_wav_with_a_length_that_is_too_small_is_whole(declared_bytes: int, tmp_path: Path) -> None:
    content = bytearray((RECORDINGS / "action_item.wav").read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = struct.pack("<I", min(declared_bytes + place - 4, 0xFFFF_FFFF))
    content[place : place + 4] = struct.pack("<I", declared_bytes)
    (tmp_path / "x.wav").write_bytes(content)
    assert decoded(tmp_path / "x.wav").duration_s == pytest.approx(4.136, abs=0.01)


def test_too_long_recording_is_rejected_before_decoding(tmp_path: Path) -> None:
    source = write(tmp_path / "x.ogg", track("ogg", 20))
    with pytest.raises(FileError) as error:
        probe(source, MediaLimits(max_file_bytes=10**9, max_duration_s=10))
    assert error.value.code == "duration_exceeded"


def test_picture_that_begins_late_loses_no_sound(tmp_path: Path) -> None:
    source = write(tmp_path / "x.flv", Track(tone(40, 44_100), "libmp3lame", rate=44_100))
    content = source.read_bytes()
    # Behind the header, each tag has a type, the size of its data, and a time in milliseconds; its length follows.
    at = 13
    while int.from_bytes(content[at + 4 : at + 7]) < 30_000:
        at += 11 + int.from_bytes(content[at + 1 : at + 4]) + 4
    picture = b"\x09\x00\x00\x02" + content[at + 4 : at + 11] + b"\x12\x00" + (13).to_bytes(4)
    source.write_bytes(content[:at] + picture + content[at:])
    with av.open(str(source)) as container:
        assert sum(packet.size for packet in read_packets(container, container.streams.audio[0])) > 0
        assert len(container.streams) == 1
    assert loud_parts(decoded(source)) == near([(0, 40)])


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "picture_s"),
    [
        ("3gp", "aac", 16_000, 9),
        ("ac3", "ac3", 48_000, 0),
        ("aiff", "pcm_s16be", 44_100, 0),
        ("au", "pcm_s16be", 8000, 0),
        ("avi", "libmp3lame", 44_100, 9),
        ("caf", "alac", 48_000, 0),
        ("eac3", "eac3", 48_000, 0),
        ("flv", "aac", 44_100, 0),
        ("m4a", "aac", 22_050, 0),
        ("mkv", "aac", 44_100, 9),
        ("mov", "pcm_s16le", 48_000, 9),
        ("mp2", "mp2", 48_000, 0),
        ("mpg", "mp2", 48_000, 9),
        ("oga", "flac", 48_000, 0),
        ("w64", "pcm_s16le", 44_100, 0),
        ("wav", "adpcm_ima_wav", 44_100, 0),
    ],
)
def test_intact_recording_of_any_container_has_no_findings(
    suffix: str, codec: str, rate: int, picture_s: float, tmp_path: Path
) -> None:
    recording = decoded(write(tmp_path / f"x.{suffix}", Track(tone(6, rate), codec, rate=rate), picture_s=picture_s))
    assert loud_parts(recording) == near([(0, 6)])
    assert recording.report.trust() == {}
