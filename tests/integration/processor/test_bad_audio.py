"""Damaged, mislabeled, unusual and malicious files in the real decoder child: each is decoded or rejected.

None crashes the child, hangs, exceeds its memory or ends in an internal error, and none that is intact is rejected.
`SMELT_TEST_BAD_AUDIO_EXAMPLES=5000` tries more files.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smelt.processor.children.decoders import Decoders
from smelt.processor.errors import FileError
from smelt.processor.media.recording import Recording
from tests.unit.processor.audio_samples import LIMITS, RECORDINGS, ROOT
from tests.unit.processor.bombs import BOMBS
from tests.unit.processor.media_samples import tone

Intact = tuple[str, str, int]


class Contents(dict[Intact, bytes]):
    """The contents of recordings; Hypothesis prints this argument of an example that fails."""

    def __repr__(self) -> str:
        return f"<{len(self)} recordings>"


EXAMPLES: Final = int(os.environ.get("SMELT_TEST_BAD_AUDIO_EXAMPLES", "40"))
FILES: Final = settings(max_examples=EXAMPLES)
MEASURED: Final = "tests.unit.processor.children.measured_decoder"
MAX_PEAK_BYTES: Final = 150 * 1024**2
"""The memory of a child with its libraries, and the most that it may need for a small file."""
RATES: Final = st.sampled_from(
    [4000, 8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]
)
LAYOUTS: Final = st.sampled_from(["mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1"])
BYTES: Final = st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(8)]) | st.binary(
    min_size=1, max_size=8
)
OUTCOMES: Final = {"decoded", "corrupted_file", "invalid_format", "decoding_failed", "duration_exceeded"}
# The container of each suffix with the codecs of its recordings, and the rates that they can have.
COMPRESSED: Final = {
    "aac": (("aac", 44_100),),
    "ac3": (("ac3", 48_000),),
    "asf": (("wmav2", 44_100), ("wmav1", 22_050)),
    "avi": (("mp2", 48_000), ("pcm_s16le", 8000)),
    "flac": (("flac", 96_000),),
    "flv": (("libmp3lame", 44_100), ("aac", 22_050)),
    "m4a": (("aac", 48_000), ("alac", 44_100)),
    "mka": (("libopus", 48_000), ("pcm_f32le", 16_000)),
    "mov": (("aac", 32_000), ("pcm_s24le", 48_000)),
    "mp2": (("mp2", 24_000),),
    "mp3": (("libmp3lame", 16_000),),
    "ogg": (("libopus", 48_000),),
    "ts": (("mp2", 48_000), ("aac", 44_100)),
    "tta": (("tta", 44_100),),
    "wav": (("pcm_mulaw", 8000), ("pcm_alaw", 8000), ("adpcm_ima_wav", 22_050), ("adpcm_ms", 44_100)),
    "webm": (("libopus", 24_000),),
    "wv": (("wavpack", 48_000),),
}
# The formats of uncompressed samples in each container.
UNCOMPRESSED: Final = {
    "aiff": ("pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be"),
    "au": ("pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be", "pcm_mulaw", "pcm_alaw"),
    "caf": ("pcm_s8", "pcm_s16be", "pcm_s24le", "pcm_s32be", "pcm_f32le", "pcm_f64be"),
    "mka": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"),
    "mov": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32be", "pcm_f32le", "pcm_f64le"),
    "w64": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"),
    "wav": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"),
}
INTACT: Final[list[Intact]] = [
    *((path.name, "", 0) for path in sorted(RECORDINGS.glob("action_item*")) if path.suffix != ".txt"),
    *((suffix, codec, rate) for suffix, codecs in COMPRESSED.items() for codec, rate in codecs),
]
"""Recordings of the repository by name, and those to be written by suffix, codec and rate."""


SUFFIXES: Final = {intact[0]: "." + intact[0].rpartition(".")[2] for intact in INTACT}


class Child:
    """A decoder child for one file after another, and the peak of its memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = asyncio.Runner()
        self._peaks = folder / "peaks"
        self._peaks.touch()
        environment = {"PYTHONPATH": str(ROOT), "PEAKS": str(self._peaks)}
        self._decoders = Decoders(1, module=MEASURED, environment=environment)

    def close(self) -> None:
        """End the child."""
        self._runner.run(self._decoders.aclose())
        self._runner.close()

    def read(self, content: bytes, name: str = "recording") -> Recording:
        """Probe and decode a file."""
        source = self.folder / name
        source.write_bytes(content)
        try:
            return self._runner.run(self._read(source))
        finally:
            source.unlink()

    def outcome(self, content: bytes, name: str = "recording") -> str:
        """Return `decoded` or the code of a rejection; the child survives and stays within its memory."""
        os.truncate(self._peaks, 0)
        rejection: FileError | None = None
        try:
            assert self.read(content, name).sample_count > 0
        except FileError as error:
            rejection = error
        assert max(map(int, self._peaks.read_text().split())) < MAX_PEAK_BYTES
        if rejection is None:
            return "decoded"
        # The child has died of the file, or was ended because it did not respond.
        assert not any(words in rejection.detail for words in ("died of", "exited with", "was killed")), rejection
        return rejection.code

    async def _read(self, source: Path) -> Recording:
        decoding = self._decoders.open(source, LIMITS)
        try:
            return await decoding.decode(self.folder / "pcm", await decoding.probe(), lambda _: None)
        finally:
            await decoding.release()


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    opened = Child(tmp_path_factory.mktemp("child"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """The recordings of `INTACT`."""
    folder = tmp_path_factory.mktemp("intact")

    def content(name: str, codec: str, rate: int) -> bytes:
        path = RECORDINGS / name if not codec else written(folder, name, codec, rate)
        return path.read_bytes()

    return Contents((intact, content(*intact)) for intact in INTACT)


def written(folder: Path, suffix: str, codec: str, rate: int, layout: str = "mono", seconds: float = 1.5) -> Path:
    """Write a tone; PyAV converts it to the samples that the encoder accepts."""
    path = folder / f"{codec}.{suffix}"
    sound = np.repeat(tone(seconds, rate), av.AudioLayout(layout).nb_channels).reshape(1, -1)
    with av.open(str(path), "w", options={"strict": "experimental"}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        context = stream.codec_context
        if codec.startswith("wma"):
            context.bit_rate = 64_000
        container.start_encoding()
        converter = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(sound, "flt", layout)
        frame.sample_rate = rate
        for converted in [*converter.resample(frame), *converter.resample(None), None]:
            container.mux(stream.encode(converted))
    return path


@pytest.mark.parametrize("intact", INTACT, ids=lambda intact: "-".join(map(str, intact)))
def test_intact_recording_is_decoded_with_any_suffix(intact: Intact, contents: Contents, child: Child) -> None:
    for suffix in (SUFFIXES[intact[0]], "", ".mp3", ".wav", ".txt"):
        assert child.read(contents[intact], f"recording{suffix}").duration_s > 1


@FILES
@example(suffix="aiff", depth=1, rate=48_000, layout="7.1")
@example(suffix="caf", depth=1, rate=48_000, layout="7.1")
@given(suffix=st.sampled_from(sorted(UNCOMPRESSED)), depth=st.integers(0, 5), rate=RATES, layout=LAYOUTS)
def test_rate_channels_and_depth_of_a_recording_are_decoded(
    suffix: str, depth: int, rate: int, layout: str, tmp_path_factory: pytest.TempPathFactory, child: Child
) -> None:
    codec = UNCOMPRESSED[suffix][depth]
    content = written(tmp_path_factory.getbasetemp(), suffix, codec, rate, layout, 0.5).read_bytes()
    assert child.read(content, f"recording.{suffix}").duration_s == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES.values()))
def test_file_of_few_bytes_is_rejected(suffix: str, child: Child) -> None:
    for content in (b"", b"\0", b"\xff" * 3, bytes(100)):
        assert child.outcome(content, f"recording{suffix}") in {"corrupted_file", "invalid_format"}


@FILES
@given(intact=st.sampled_from(INTACT), share=st.floats(0, 1))
def test_truncated_file_is_decoded_or_rejected(intact: Intact, share: float, contents: Contents, child: Child) -> None:
    content = contents[intact]
    assert child.outcome(content[: int(len(content) * share)]) in OUTCOMES


@FILES
@given(intact=st.sampled_from(INTACT), bits=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_file_with_flipped_bits_is_decoded_or_rejected(
    intact: Intact, bits: list[float], contents: Contents, child: Child
) -> None:
    content = bytearray(contents[intact])
    for share in bits:
        byte, bit = divmod(int(len(content) * 8 * share), 8)
        content[byte] ^= 1 << bit
    assert child.outcome(bytes(content)) in OUTCOMES


@FILES
@given(intact=st.sampled_from(INTACT), places=st.lists(st.integers(0, 500), min_size=1, max_size=8), value=BYTES)
def test_file_with_a_damaged_header_is_decoded_or_rejected(
    intact: Intact, places: list[int], value: bytes, contents: Contents, child: Child
) -> None:
    content = bytearray(contents[intact])
    for place in places:
        content[place : place + len(value)] = value
    assert child.outcome(bytes(content)) in OUTCOMES


@FILES
@given(
    intact=st.sampled_from(INTACT),
    other=st.sampled_from(INTACT),
    cut=st.floats(0, 1),
    cut_of_other=st.floats(0, 1),
)
def test_two_files_in_one_are_decoded_or_rejected(
    intact: Intact, other: Intact, cut: float, cut_of_other: float, contents: Contents, child: Child
) -> None:
    start, end = contents[intact], contents[other]
    content = start[: int(len(start) * cut)] + end[int(len(end) * cut_of_other) :]
    assert child.outcome(content) in OUTCOMES


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bomb_takes_little_memory_of_the_child(name: str, child: Child) -> None:
    build, expected = BOMBS[name]
    # Beyond its memory, libav takes a failed allocation for damage, and Python raises an error.
    assert child.outcome(build()) in {expected, "corrupted_file", "decoding_failed"}
