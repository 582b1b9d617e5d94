"""Channels are decoded and transcribed apart, each as a speaker, and merged by time without doubling a voice."""

import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel, decode_audio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smelt.contract.work import SavedSegment
from smelt.processor.children.decoders import Decoders
from smelt.processor.errors import FileError
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.media.separate import different_places
from smelt.processor.media.values import bytes_needed
from smelt.processor.speech.channels import merged_segments
from smelt.processor.speech.spans import span_from
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.vad import Clip, union_length
from smelt.processor.speech.values import SpeechOptions
from tests.unit.processor.audio_samples import LIMITS, STANDUP

Sound = NDArray[np.float32]
SEED = 3


def noise(seconds: float = 1.0, seed: int = SEED, level: float = 0.1) -> Sound:
    return np.random.default_rng(seed).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def written(path: Path, *channels: Sound) -> Path:
    """Write a WAV file with these channels."""
    with wave.open(str(path), "wb") as sink:
        sink.setparams((len(channels), 2, SAMPLE_RATE, 0, "NONE", ""))
        sink.writeframes((np.stack(channels, axis=1) * 32767).astype(np.int16).tobytes())
    return path


def separated(source: Path) -> Recording:
    target = source.with_suffix(".pcm")
    return decode_to_pcm(source, target, probe(source, LIMITS), LIMITS, lambda _: None, is_separate=True)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_separate_channels_are_decoded_unmixed(count: int, tmp_path: Path) -> None:
    sounds = [noise(seed=seed) for seed in range(count)]
    recording = separated(written(tmp_path / "many.wav", *sounds))
    assert recording.channels == tuple(range(1, count + 1))
    assert recording.sample_count == SAMPLE_RATE
    assert recording.path.stat().st_size == SAMPLE_RATE * 2 * count
    for channel, sound in zip(recording.separated(), sounds, strict=True):
        assert channel.read(0, SAMPLE_RATE) == pytest.approx(sound, abs=1e-3)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(lambda first: first, id="same"),
        pytest.param(lambda first: -0.3 * first, id="inverted and quieter"),
        pytest.param(lambda first: first + noise(seed=9, level=0.005), id="with noise"),
    ],
)
def test_channels_with_the_same_sound_are_decoded_as_one(second: Any, tmp_path: Path) -> None:
    first = noise()
    recording = separated(written(tmp_path / "dual.wav", first, second(first)))
    assert (recording.channels, recording.sample_count) == ((), SAMPLE_RATE)
    assert recording.path.stat().st_size == SAMPLE_RATE * 2
    assert float(np.abs(recording.read(0, SAMPLE_RATE)).max()) > 0.05


def test_channel_that_repeats_an_earlier_one_is_omitted_alone(tmp_path: Path) -> None:
    first, other = noise(seed=1), noise(seed=2)
    recording = separated(written(tmp_path / "three.wav", first, 0.5 * first, other))
    assert recording.channels == (1, 3)
    assert recording.separated()[1].read(0, SAMPLE_RATE) == pytest.approx(other, abs=1e-3)


def test_silent_channel_stays_a_channel(tmp_path: Path) -> None:
    recording = separated(written(tmp_path / "left.wav", noise(), np.zeros(SAMPLE_RATE, np.float32)))
    assert recording.channels == (1, 2)


def test_mono_file_has_no_separate_channels(tmp_path: Path) -> None:
    assert separated(written(tmp_path / "mono.wav", noise())).channels == ()


def test_nine_channels_are_rejected_with_a_sentence_that_names_the_option(tmp_path: Path) -> None:
    source = written(tmp_path / "nine.wav", *(noise(0.2, seed) for seed in range(9)))
    with pytest.raises(FileError) as error:
        separated(source)
    assert error.value.code == "transcription_failed"
    assert error.value.sentence == 'The option "channels" can separate at most 8 channels; this file has 9.'
    assert decode_to_pcm(source, tmp_path / "x.pcm", probe(source, LIMITS), LIMITS, lambda _: None).channels == ()


async def test_separate_channels_and_their_rejection_pass_the_child(tmp_path: Path) -> None:
    two = written(tmp_path / "two.wav", noise(), noise(seed=2))
    nine = written(tmp_path / "nine.wav", *(noise(0.2, seed) for seed in range(9)))
    decoders = Decoders(1)
    try:
        decoding = decoders.open(two, LIMITS)
        probed = await decoding.probe()
        assert probed.channels == 2
        recording = await decoding.decode(tmp_path / "two.pcm", probed, lambda _: None, is_separate=True)
        assert (recording.channels, recording.sample_count) == ((1, 2), SAMPLE_RATE)
        decoding = decoders.open(nine, LIMITS)
        with pytest.raises(FileError) as error:
            await decoding.decode(tmp_path / "nine.pcm", await decoding.probe(), lambda _: None, is_separate=True)
        assert error.value.sentence is not None
        assert "at most 8 channels" in error.value.sentence
    finally:
        await decoders.aclose()


def test_disk_space_is_reserved_for_each_channel(tmp_path: Path) -> None:
    probed = probe(written(tmp_path / "two.wav", noise(), noise(seed=2)), LIMITS)
    assert bytes_needed(probed, LIMITS, is_separate=True) == 2 * bytes_needed(probed, LIMITS)


@given(st.integers(1, 5), st.data())
def test_different_places_keep_the_first_of_each_sound(count: int, data: st.DataObject) -> None:
    sources = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    gains = data.draw(st.lists(st.sampled_from([-2.0, 0.1, 1.0]), min_size=count, max_size=count))
    sounds = np.random.default_rng(0).normal(0, 0.1, (4, 4000))
    channels = np.stack([gain * sounds[source] for source, gain in zip(sources, gains, strict=True)])
    found = different_places(channels @ channels.T)
    assert found == sorted({source: place for place, source in reversed(list(enumerate(sources)))}.values())


def test_union_of_clips_counts_overlaps_once() -> None:
    assert union_length([Clip(10, 20), Clip(0, 5), Clip(15, 30), Clip(16, 17)]) == 25
    assert union_length([]) == 0


def test_span_ends_in_a_pause_of_all_channels(tmp_path: Path) -> None:
    left, right = noise(20), noise(20, seed=2)
    left[int(16.0 * SAMPLE_RATE) : int(18.5 * SAMPLE_RATE)] = 0
    right[int(18.0 * SAMPLE_RATE) : int(19.5 * SAMPLE_RATE)] = 0
    recording = separated(written(tmp_path / "two.wav", left, right))
    assert 18.0 <= span_from(recording, 0, 19.9).end / SAMPLE_RATE <= 18.5


# Merging


def spoken(start: float, end: float, text: str) -> SavedSegment:
    return SavedSegment(index=7, start=start, end=end, text=text)


def merge(
    *transcripts: list[SavedSegment], powers: tuple[float, ...] = (1.0, 1.0)
) -> list[tuple[int, str | None, str]]:
    labels = [f"Speaker {n}" for n in range(1, len(transcripts) + 1)]
    merged = merged_segments(transcripts, labels, lambda place, *_: powers[place], 5)
    return [(segment.index, segment.speaker, segment.text) for segment in merged]


def test_merged_segments_are_in_order_of_their_start_with_their_speaker() -> None:
    left = [spoken(0, 2, "How are you?"), spoken(5, 9, "I see.")]
    right = [spoken(2.5, 4, "Fine, and you?"), spoken(5, 6, "What?")]
    assert merge(left, right) == [
        (5, "Speaker 1", "How are you?"),
        (6, "Speaker 2", "Fine, and you?"),
        (7, "Speaker 1", "I see."),
        (8, "Speaker 2", "What?"),
    ]


def test_quieter_copy_of_a_voice_in_another_channel_is_omitted() -> None:
    left = [spoken(0, 4, "We meet at the station tomorrow."), spoken(5, 6, "Yes.")]
    bleed = [spoken(0.2, 2.1, "we meet at the station"), spoken(2.1, 4, "tomorrow"), spoken(5.1, 6, "Yes")]
    assert [text for _, _, text in merge(left, bleed, powers=(1.0, 0.01))] == [
        "We meet at the station tomorrow.",
        "Yes.",
    ]
    assert {speaker for _, speaker, _ in merge(bleed, left, powers=(0.01, 1.0))} == {"Speaker 2"}


def test_voice_that_is_equally_loud_in_two_channels_belongs_to_the_first() -> None:
    voice = [spoken(0, 4, "We meet at the station tomorrow."), spoken(5, 6, "Is destroyed.")]
    assert {speaker for _, speaker, _ in merge(voice, voice)} == {"Speaker 1"}


def test_other_words_that_the_model_finds_in_a_copy_of_a_voice_are_omitted() -> None:
    sentence = "this is one voice that both of the microphones have recorded in the same room at the same time"
    first = [spoken(0, 8, sentence), spoken(8, 9, "I see.")]
    misheard = [spoken(0, 8, sentence), spoken(8.1, 9, "Icy.")]
    assert [speaker for _, speaker, _ in merge(first, misheard)] == ["Speaker 1"] * 2
    # During a pause of the other channel, they are those of another speaker.
    assert [speaker for _, speaker, _ in merge(first[:1], misheard)] == ["Speaker 1", "Speaker 2"]


def test_words_that_are_often_misheard_in_a_copy_of_a_voice_are_omitted() -> None:
    """An old stereo tape, as a model understood each of its channels."""
    both = [
        spoken(42.3, 51.7, "I am sitting in a room different from the one you are in now."),
        spoken(78.7, 83.6, "not so much as a demonstration of a physical fact."),
        spoken(86.2, 96.5, "but more as a way to smooth out any irregularities my speech might have."),
    ]
    first = [*both, spoken(66.5, 68.6, "articulated by speech."), spoken(72.8, 76.8, "I regard this activity")]
    misheard = [spoken(66.5, 67.9, "the"), spoken(67.9, 68.9, "the"), spoken(72.9, 73.7, "by regard")]
    second = [*both, *misheard, spoken(75.6, 76.7, "to this activity")]
    assert {speaker for _, speaker, _ in merge(first, second)} == {"Speaker 1"}


def test_same_word_of_two_speakers_at_a_time_is_kept() -> None:
    left = [spoken(0, 4, "Shall we meet at the station tomorrow?"), spoken(5, 6, "Yes.")]
    right = [spoken(5, 6, "Yes."), spoken(7, 9, "I will be there at eight.")]
    assert len(merge(left, right)) == 4


# Transcribing


@pytest.fixture(scope="module")
def dialog(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return 36 s of speech of the demo, whose stretches of 6 s alternate between two channels."""
    sound = decode_audio(str(STANDUP))[: 36 * SAMPLE_RATE]
    is_left = np.arange(len(sound)) // (6 * SAMPLE_RATE) % 2 == 0
    path = tmp_path_factory.mktemp("dialog") / "dialog.wav"
    return separated(written(path, np.where(is_left, sound, 0), np.where(is_left, 0, sound)))


@pytest.mark.parametrize("model", ["demo_model", "two_lanes"])
@pytest.mark.parametrize("options", [SpeechOptions(max_span_s=15), SpeechOptions(batch_size=2)], ids=str)
def test_dialog_is_transcribed_by_channel_in_order_of_time(
    model: str, options: SpeechOptions, dialog: Recording, request: pytest.FixtureRequest
) -> None:
    passages = list(Transcriber(request.getfixturevalue(model), options).transcribe(dialog, "en"))
    segments = [segment for passage in passages for segment in passage.segments]
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(before.start <= after.start for before, after in pairwise(segments))
    for segment in segments:
        middle = (segment.start + segment.end) / 2
        assert segment.speaker == ("Speaker 1" if middle // 6 % 2 == 0 else "Speaker 2"), segment
    positions = [passage.position_s for passage in passages]
    assert positions == sorted(positions)
    assert positions[-1] == pytest.approx(dialog.duration_s)
    assert passages[-1].checkpoint.segment_count == len(segments) > 10
    # Each channel is prepared: the time of the whole is that of two recordings.
    assert sum(passage.prepared_s for passage in passages) == pytest.approx(2 * dialog.duration_s)
    assert passages[-1].checkpoint.findings.silence_s < 8


@pytest.mark.parametrize("model", ["demo_model", "two_lanes"])
def test_dialog_resumed_from_any_checkpoint_continues_with_the_same_segments(
    model: str, dialog: Recording, request: pytest.FixtureRequest
) -> None:
    transcriber = Transcriber(request.getfixturevalue(model), SpeechOptions(max_span_s=15, beam_size=1))
    passages = list(transcriber.transcribe(dialog, "en"))
    whole = [segment for passage in passages for segment in passage.segments]
    checkpoints = {passage.checkpoint.span_start: passage.checkpoint for passage in passages}
    assert len(checkpoints) >= 3
    for checkpoint in checkpoints.values():
        resumed = list(transcriber.transcribe(dialog, "en", checkpoint))
        assert [s for passage in resumed for s in passage.segments] == whole[checkpoint.segment_count :]


def test_passage_with_segments_has_their_checkpoint(dialog: Recording, demo_model: WhisperModel) -> None:
    count = 0
    for passage in Transcriber(demo_model, SpeechOptions(max_span_s=15, beam_size=1)).transcribe(dialog, "en"):
        count += len(passage.segments)
        assert passage.checkpoint.segment_count == count
