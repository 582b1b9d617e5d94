"""Speech is transcribed in every mode, within the recording, without losing a word."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from faster_whisper import WhisperModel

from smelt.contract.work import SavedSegment
from smelt.errors import SettingsError
from smelt.processor.media.recording import SAMPLE_RATE, Recording, Samples
from smelt.processor.speech.decoder import Window
from smelt.processor.speech.languages import Language
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
from smelt.processor.speech.vad import SpeechAudio, find_speech
from smelt.processor.speech.windows import WindowResult, WindowTranscriber
from tests.unit.processor.audio_samples import STANDUP

SPOKEN_TEXT = STANDUP.with_suffix(".txt").read_text()


def words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def errors(transcribed: list[str], spoken: list[str]) -> int:
    """Return the number of words that differ: Levenshtein distance."""
    row = list(range(len(spoken) + 1))
    for i, word in enumerate(transcribed, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(spoken, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def transcribe_with(model: WhisperModel, options: SpeechOptions, recording: Recording) -> list[SavedSegment]:
    passages = Transcriber(model, options).transcribe(recording, "en")
    return [segment for passage in passages for segment in passage.segments]


@pytest.mark.parametrize(
    "options",
    [
        SpeechOptions(),
        SpeechOptions(beam_size=1, max_span_s=20),
        SpeechOptions(vad=False),
        SpeechOptions(word_times=True),
        SpeechOptions(batch_size=4),
        SpeechOptions(batch_size=4, word_times=True),
        SpeechOptions(batch_size=2, vad=False),
    ],
    ids=str,
)
def test_transcribe_standup_below_the_maximum_error_rate_in_every_mode(
    options: SpeechOptions, demo_model: WhisperModel, standup: Recording
) -> None:
    segments = transcribe_with(demo_model, options, standup)
    spoken = words(SPOKEN_TEXT)
    wrong = errors(words(" ".join(segment.text for segment in segments)), spoken)
    # Without speech detection, windows cut through words.
    assert wrong / len(spoken) <= (0.05 if options.vad else 0.25)
    starts = [segment.start for segment in segments]
    assert starts == sorted(starts)
    for segment in segments:
        assert 0 <= segment.start <= segment.end <= standup.duration_s + 0.5
        assert (segment.words is not None) == options.word_times
        for word in segment.words or ():
            assert segment.start - 0.5 <= word.start <= word.end <= segment.end + 0.5


def test_segment_times_include_removed_silence(
    demo_model: WhisperModel, standup: Recording, tmp_path_factory: pytest.TempPathFactory
) -> None:
    speech = np.memmap(standup.path, dtype=np.int16, mode="r")[: 9 * SAMPLE_RATE]
    silence = np.zeros(20 * SAMPLE_RATE, dtype=np.int16)
    path = tmp_path_factory.mktemp("gap") / "gap.pcm"
    path.write_bytes(speech.tobytes() + silence.tobytes() + speech.tobytes())
    segments = transcribe_with(demo_model, SpeechOptions(), Recording(path, path.stat().st_size // 2))
    first = [segment for segment in segments if segment.end < 10]
    second = [segment for segment in segments if segment.start > 28]
    assert [segment.text for segment in first] == [segment.text for segment in second]
    assert len(segments) == len(first) + len(second) == 10
    for before, after in zip(first, second, strict=True):
        assert after.start - before.start == pytest.approx(29, abs=0.4)


@pytest.mark.parametrize(
    "options", [SpeechOptions(), SpeechOptions(word_times=True), SpeechOptions(batch_size=1)], ids=str
)
def test_speech_left_decreases_to_zero_from_any_checkpoint(
    options: SpeechOptions, demo_model: WhisperModel, opening: Recording
) -> None:
    transcriber = Transcriber(demo_model, options)
    whole = list(transcriber.transcribe(opening, "en"))
    starts = [n for n, passage in enumerate(whole) if passage.prepared_s]
    left = [passage.remaining_speech_s for passage in whole]
    assert opening.duration_s - 5 < sum(left[start] for start in starts) <= opening.duration_s
    for start, end in pairwise([*starts, len(whole)]):
        assert left[start:end] == sorted(left[start:end], reverse=True)
        assert left[end - 1] == 0
    # Nothing before the checkpoint is transcribed again, except the previous window with word times.
    late = len(whole) * 3 // 4
    [resumed, *rest] = transcriber.transcribe(opening, "en", whole[late].checkpoint)
    assert left[starts[-1]] - 5 > resumed.remaining_speech_s >= left[late]
    assert rest[-1].remaining_speech_s == 0


def test_language_detection_is_skipped_for_a_monolingual_model(demo_model: WhisperModel, standup: Recording) -> None:
    assert Transcriber(demo_model, SpeechOptions()).detect_language(standup) == Language("en", 1.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ModelOptions(name="enormous"), "SMELT_MODEL=enormous is neither a local folder, .* known size.*demo"),
        (ModelOptions(name="/"), "SMELT_MODEL=/ has no model.bin"),
        (ModelOptions(compute_type="float7"), "SMELT_COMPUTE_TYPE .*float7"),
        (ModelOptions(device="abacus"), "SMELT_DEVICE .*abacus"),
    ],
)
def test_model_settings_error_is_one_sentence(options: ModelOptions, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as raised:
        load_model(options)
    assert "\n" not in str(raised.value)


def test_model_folder_without_a_tokenizer_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(SettingsError, match=r"SMELT_MODEL=.* has no tokenizer\.json"):
        load_model(ModelOptions(name=str(tmp_path)))


def test_batches_are_full_but_for_the_first_and_the_last_one(
    demo_model: WhisperModel, standup: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span ends with the last window of its batch, wherever it would end otherwise."""
    sizes, transcribe = [], WindowTranscriber.transcribe

    def recorded(self: WindowTranscriber, windows: Sequence[Window]) -> list[WindowResult]:
        # A part that the model has left is transcribed again.
        if all(window.duration_s > 6 for window in windows):
            sizes.append(len(windows))
        return transcribe(self, windows)

    monkeypatch.setattr(WindowTranscriber, "transcribe", recorded)
    transcribe_with(demo_model, SpeechOptions(batch_size=2, max_span_s=20), standup)
    assert sizes[0] == 1
    assert len(sizes) > 3
    assert set(sizes[1:-1]) == {2}


def test_next_span_is_prepared_while_a_batch_is_transcribed(
    demo_model: WhisperModel, standup: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, transcribe = Event(), WindowTranscriber.transcribe
    prepared: list[SpeechAudio] = []

    def found(samples: Samples, *, max_clip_s: float | None) -> SpeechAudio:
        speech = find_speech(samples, max_clip_s=max_clip_s)
        prepared.append(speech)
        if len(prepared) == 2:
            second.set()
        return speech

    def waiting(self: WindowTranscriber, windows: Sequence[Window]) -> list[WindowResult]:
        assert second.wait(timeout=60)
        return transcribe(self, windows)

    monkeypatch.setattr("smelt.processor.speech.transcriber.find_speech", found)
    monkeypatch.setattr(WindowTranscriber, "transcribe", waiting)
    options = SpeechOptions(batch_size=2, max_span_s=20)
    spans = [p for p in Transcriber(demo_model, options).transcribe(standup, "en") if p.prepared_s]
    assert len(spans) == len(prepared) > 2
