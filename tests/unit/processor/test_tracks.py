"""The track and the channel with the voice are transcribed and reported."""

from pathlib import Path

import av
import numpy as np
import pytest

import smelt.processor.media.tracks as tracks_module
from smelt.processor.media.mono import MonoMixer, cancelled_channel
from smelt.processor.media.recording import Recording
from smelt.processor.media.tracks import audible_track
from tests.unit.processor import bombs
from tests.unit.processor.media_samples import Sound, Track, decoded, frame_of, loud_parts, near, silence, tone, write

SUFFIXES = ["mkv", "mp4", "ts"]


def tracks(folder: Path, suffix: str, *sounds: tuple[Sound, bool]) -> Recording:
    codec = "libopus" if suffix == "mkv" else "aac"
    made = [Track(sound, codec, default=default) for sound, default in sounds]
    return decoded(write(folder / f"x.{suffix}", *made))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_track_with_the_voice_is_taken_when_the_first_is_silent(suffix: str, tmp_path: Path) -> None:
    recording = tracks(tmp_path, suffix, (silence(20), True), (tone(20), False))
    assert loud_parts(recording) == near([(0, 20)])
    assert recording.report.trust() == {"track": 2, "track_count": 2}


def test_track_that_speaks_late_is_found(tmp_path: Path) -> None:
    late = np.concatenate([silence(300), tone(300)], axis=1)
    recording = tracks(tmp_path, "mkv", (tone(600, amplitude=1e-4), True), (late, False))
    assert recording.report.track == 2


def test_default_track_is_taken_even_if_another_one_is_louder(tmp_path: Path) -> None:
    recording = tracks(tmp_path, "mkv", (tone(5, amplitude=0.9), False), (tone(5, amplitude=0.1), True))
    assert recording.report.trust() == {"track": 2, "track_count": 2}


def test_first_track_is_taken_when_all_are_silent(tmp_path: Path) -> None:
    recording = tracks(tmp_path, "mkv", (silence(5), True), (silence(5), True))
    assert recording.duration_s == pytest.approx(5, abs=0.05)
    assert recording.report.track == 1


def test_later_track_keeps_its_time(tmp_path: Path) -> None:
    made = [Track(silence(9), "libopus"), Track(tone(5), "libopus", shift=lambda _: 4.0)]
    assert loud_parts(decoded(write(tmp_path / "x.mkv", *made))) == near([(4, 9)])


def test_number_of_sampled_tracks_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    sampled = tracks_module._sampled_power
    monkeypatch.setattr(
        tracks_module,
        "_sampled_power",
        lambda source, track, probed: opened.append(track) or sampled(source, track, probed),
    )
    recording = tracks(tmp_path, "mkv", *((tone(1), False) for _ in range(12)))
    assert recording.report.track_count == 12
    assert len(opened) == 8


@pytest.mark.parametrize(
    ("powers", "track"), [([0.0, 0.0], 0), ([1e-9, 1e-2], 1), ([1e-4, 1e-2], 0), ([0.0, 1e-5, 1e-3], 1)]
)
def test_audible_track_is_the_first_that_is_not_far_quieter(powers: list[float], track: int) -> None:
    assert audible_track(powers) == track


@pytest.mark.parametrize("codec", ["flac", "aac", "pcm_u8", "pcm_s32le"])
def test_inverted_channels_are_not_mixed_to_silence(codec: str, tmp_path: Path) -> None:
    suffix = {"flac": "flac", "aac": "m4a"}.get(codec, "wav")
    sound = np.concatenate([tone(5) * 0.8, -tone(5) * 0.8], axis=0)
    if codec == "pcm_u8":
        (tmp_path / "x.wav").write_bytes(
            bombs.wav(((sound * 127).round() + 128).astype(np.uint8).T.tobytes(), 48_000, 2, bits=8)
        )
    elif codec == "pcm_s32le":
        (tmp_path / "x.wav").write_bytes(bombs.wav((sound * 2**31).astype("<i4").T.tobytes(), 48_000, 2, bits=32))
    else:
        write(tmp_path / f"x.{suffix}", Track(sound, codec, layout="stereo"))
    recording = decoded(tmp_path / f"x.{suffix}")
    assert loud_parts(recording) == near([(0, 5)])
    assert recording.report.channel in (1, 2)


@pytest.mark.parametrize("voice", [0, 1])
def test_voice_on_one_channel_is_mixed(voice: int, tmp_path: Path) -> None:
    sound = np.concatenate([silence(5), silence(5)], axis=0)
    sound[voice] = tone(5)[0]
    recording = decoded(write(tmp_path / "x.flac", Track(sound, "flac", layout="stereo")))
    assert loud_parts(recording) == near([(0, 5)])
    assert recording.report.trust() == {}


@pytest.mark.parametrize("channels", [9, 11, 13, 23])
def test_channel_count_without_a_layout_decodes(channels: int, tmp_path: Path) -> None:
    samples = (np.repeat(tone(3)[0][:, None], channels, axis=1) * 32767).astype("<i2")
    (tmp_path / "x.wav").write_bytes(bombs.wav(samples.tobytes(), 48_000, channels))
    recording = decoded(tmp_path / "x.wav")
    assert loud_parts(recording) == near([(0, 3)])


def test_planar_frame_of_many_channels_is_mixed() -> None:
    sound = np.repeat(tone(1), 9, axis=0)
    sound[8] = 0
    packed = frame_of(sound, Track(sound, "", layout="9 channels"), "flt", 0)
    (planar,) = av.AudioResampler(format="fltp", layout="9 channels", rate=48_000).resample(packed)
    mixer = MonoMixer()
    samples = np.frombuffer(b"".join([*mixer.convert(planar), *mixer.flush()]), np.int16)
    assert len(samples) == pytest.approx(16_000, abs=20)
    assert np.abs(samples).max() / 32768 == pytest.approx(0.3 * 8 / 9, abs=0.02)
    assert mixer.cancelled_channel() is None


def test_mixer_without_frames_has_no_cancelled_channel() -> None:
    assert MonoMixer().cancelled_channel() is None


def test_taken_channel_is_the_last_where_there_are_fewer() -> None:
    mixer = MonoMixer(channel=3)
    sound = np.concatenate([silence(1), tone(1)], axis=0)
    chunks = [*mixer.convert(frame_of(sound, Track(sound, "", layout="stereo"), "s16", 0)), *mixer.flush()]
    assert np.abs(np.frombuffer(b"".join(chunks), np.int16)).max() / 32768 == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
    ("mix", "powers", "channel"),
    [
        (0.0, [0.01, 0.02], 1),
        (0.005, [0.01, 0.01], None),
        (0.0025, [0.01, 0.0], None),
        (0.0, [0.0, 0.0], None),
        (0.0, [1e-9, 1e-9], None),
        (0.01 / 24**2, [0.01] + [0.0] * 23, None),
    ],
)
def test_cancelled_channel_is_the_loudest_if_the_mix_is_far_below(
    mix: float, powers: list[float], channel: int | None
) -> None:
    assert cancelled_channel(mix, np.array(powers)) == channel


def joined(folder: Path, suffix: str, *parts: Track) -> Path:
    contents = [write(folder / f"{n}.{suffix}", part).read_bytes() for n, part in enumerate(parts)]
    (folder / f"x.{suffix}").write_bytes(b"".join(contents))
    return folder / f"x.{suffix}"


@pytest.mark.parametrize(("suffix", "codec"), [("aac", "aac"), ("mp3", "libmp3lame")])
def test_format_that_changes_midway_decodes(suffix: str, codec: str, tmp_path: Path) -> None:
    stereo = np.concatenate([tone(4, 22_050), tone(4, 22_050)], axis=0)
    first = Track(tone(4, 44_100), codec, rate=44_100)
    source = joined(tmp_path, suffix, first, Track(stereo, codec, rate=22_050, layout="stereo"), first)
    recording = decoded(source)
    assert recording.duration_s == pytest.approx(12, abs=0.4)
    assert loud_parts(recording) == near([(0, 12)], 0.4)
