"""Any media file is decoded to 16 kHz mono on disk, or rejected with the matching error code."""

import os
from pathlib import Path

import numpy as np
import pytest

from smelt.processor.errors import FileError
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.media.values import MediaLimits
from tests.unit.processor.audio_samples import LIMITS, RECORDINGS, STANDUP

FORMATS = sorted(path.name for path in RECORDINGS.glob("action_item*") if path.suffix != ".txt")


def read(source: Path, folder: Path, limits: MediaLimits = LIMITS) -> Recording:
    return decode_to_pcm(source, folder / "decoded.pcm", probe(source, limits), limits, lambda _: None)


@pytest.mark.parametrize("name", FORMATS)
def test_decode_gives_the_same_duration_for_every_format(name: str, tmp_path: Path) -> None:
    reference = read(RECORDINGS / "action_item.wav", tmp_path).duration_s
    assert read(RECORDINGS / name, tmp_path).duration_s == pytest.approx(reference, abs=0.12)


def test_recording_reads_float_samples_from_any_offset(standup: Recording) -> None:
    second = standup.read(SAMPLE_RATE, 2 * SAMPLE_RATE)
    assert second.dtype == np.float32
    assert len(second) == SAMPLE_RATE
    assert 0.01 < float(np.abs(second).max()) <= 1.0
    assert len(standup.read(standup.sample_count - 5, standup.sample_count + 5)) == 5
    assert len(standup.read(standup.sample_count, standup.sample_count + 5)) == 0


def test_decode_progress_grows_to_one(tmp_path: Path) -> None:
    shares: list[float] = []
    decode_to_pcm(STANDUP, tmp_path / "x.pcm", probe(STANDUP, LIMITS), LIMITS, shares.append)
    assert shares == sorted(shares)
    assert len(set(shares)) > 20
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.mp3", b"", "corrupted_file"),
        ("notes.mp3", b"These are the notes of a meeting.\n" * 20, "invalid_format"),
        ("utf16.wav", "Notizen über das Treffen\n".encode("utf-16") * 20, "invalid_format"),
        ("playlist.mp3", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n", "invalid_format"),
        ("paper.m4a", b"%PDF-1.7\n" + bytes(range(256)) * 40, "invalid_format"),
        ("noise.mp3", np.random.default_rng(7).bytes(40_000), "corrupted_file"),
        ("noise.wav", np.random.default_rng(8).bytes(40_000), "corrupted_file"),
        ("noise.m4a", np.random.default_rng(9).bytes(40_000), "corrupted_file"),
        ("header.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "corrupted_file"),
    ],
)
def test_decode_error_code_matches_the_kind_of_bad_file(name: str, content: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError) as error:
        read(tmp_path / name, tmp_path)
    assert error.value.code == code


def test_decode_accepts_a_streamed_wav_without_a_size(tmp_path: Path) -> None:
    whole = (RECORDINGS / "action_item.wav").read_bytes()
    streamed = tmp_path / "streamed.wav"
    streamed.write_bytes(whole[:4] + b"\xff\xff\xff\xff" + whole[8:])
    assert read(streamed, tmp_path).duration_s == pytest.approx(
        read(RECORDINGS / "action_item.wav", tmp_path).duration_s
    )


def test_decode_of_a_video_without_audio_is_invalid_format(tmp_path: Path) -> None:
    import av

    silent = tmp_path / "silent.mp4"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(FileError) as error:
        read(silent, tmp_path)
    assert error.value.code == "invalid_format"


def test_limits_of_size_and_duration_are_enforced(tmp_path: Path) -> None:
    size = os.path.getsize(STANDUP)
    with pytest.raises(FileError) as error:
        probe(STANDUP, MediaLimits(max_file_bytes=size - 1, max_duration_s=3600))
    assert error.value.code == "file_too_large"
    with pytest.raises(FileError) as error:
        read(STANDUP, tmp_path, MediaLimits(max_file_bytes=size, max_duration_s=60))
    assert error.value.code == "duration_exceeded"


def test_limits_of_an_undeclared_duration_are_enforced_in_decoding(tmp_path: Path) -> None:
    limits = MediaLimits(max_file_bytes=10**9, max_duration_s=1)
    source = RECORDINGS / "action_item.mp3"
    probed = probe(source, LIMITS)
    with pytest.raises(FileError) as error:
        decode_to_pcm(source, tmp_path / "x.pcm", probed, limits, lambda _: None)
    assert error.value.code == "duration_exceeded"
    assert (tmp_path / "x.pcm").stat().st_size < 4 * SAMPLE_RATE
