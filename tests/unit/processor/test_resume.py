"""A run that is stopped anywhere and resumed at its last checkpoint gives the text of an undisturbed run."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel

from smelt.contract.work import SavedSegment
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.checkpoint import START, Checkpoint, read_checkpoint
from smelt.processor.speech.decoder import EncodedWindows, Window, WindowDecoder
from smelt.processor.speech.transcriber import Passage, SpeechOptions, Transcriber

MODES = {
    "sequential": SpeechOptions(max_span_s=15),
    "one span": SpeechOptions(),
    "without voice detection": SpeechOptions(vad=False, max_span_s=15),
    "word times": SpeechOptions(word_times=True, max_span_s=15),
    "batched": SpeechOptions(batch_size=2),
    "batched with word times": SpeechOptions(batch_size=1, word_times=True, max_span_s=20),
}


def words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def saved_after(passages: list[Passage]) -> tuple[list[SavedSegment], Checkpoint]:
    """Return the saved state of a worker that is killed after these passages."""
    segments: dict[int, SavedSegment] = {}
    for passage in passages:
        segments.update({segment.index: segment for segment in passage.segments})
    return list(segments.values()), passages[-1].checkpoint if passages else START


@pytest.mark.parametrize("mode", MODES)
def test_resume_from_any_checkpoint_gives_the_undisturbed_text(
    mode: str, demo_model: WhisperModel, opening: Recording
) -> None:
    transcriber = Transcriber(demo_model, MODES[mode])
    undisturbed = list(transcriber.transcribe(opening, "en"))
    whole = [segment for passage in undisturbed for segment in passage.segments]
    assert [segment.index for segment in whole] == list(range(len(whole)))
    seen: list[Checkpoint] = []
    for stopped_after in range(len(undisturbed)):
        saved, checkpoint = saved_after(undisturbed[:stopped_after])
        if checkpoint in seen:
            continue  # This checkpoint is tested already.
        seen.append(checkpoint)
        kept = [segment for segment in saved if segment.index < checkpoint.segment_count]
        restored = read_checkpoint(checkpoint.model_dump(mode="json"))
        resumed = [s for passage in transcriber.transcribe(opening, "en", restored) for s in passage.segments]
        assert kept + resumed == whole, f"stopped after passage {stopped_after}"
    assert len(seen) >= 2


@pytest.mark.parametrize(("before", "after"), [("batched", "sequential"), ("sequential", "word times")])
def test_resume_with_other_settings_restarts_at_the_window(
    before: str, after: str, demo_model: WhisperModel, opening: Recording
) -> None:
    first, second = (Transcriber(demo_model, replace(MODES[mode], max_span_s=15)) for mode in (before, after))
    passages = list(first.transcribe(opening, "en"))
    stopped_after = next(n for n, passage in enumerate(passages) if passage.checkpoint.seek)
    saved, checkpoint = saved_after(passages[: stopped_after + 1])
    assert checkpoint.position > checkpoint.span_start
    resumed_at = second.resume_point(checkpoint)
    assert (resumed_at.span_start, resumed_at.seek) == (checkpoint.position, 0)
    assert resumed_at.segment_count == checkpoint.segment_count
    kept = [segment.text for segment in saved if segment.index < resumed_at.segment_count]
    passages = list(second.transcribe(opening, "en", resumed_at))
    resumed = [segment for passage in passages for segment in passage.segments]
    whole = [segment.text for passage in first.transcribe(opening, "en") for segment in passage.segments]
    assert resumed[0].index == len(kept) > 0
    assert words(" ".join([*kept, *(segment.text for segment in resumed)])) == words(" ".join(whole))
    assert passages[-1].checkpoint.findings.silence_s >= checkpoint.findings.silence_s


def test_batch_size_shrinks_to_sequential(demo_model: WhisperModel) -> None:
    options: SpeechOptions | None = SpeechOptions(batch_size=5)
    sizes = []
    while (options := options.with_smaller_batch) is not None:
        sizes.append(options.batch_size)
        last = options
    assert sizes == [2, 1, 0]
    assert Transcriber(demo_model, last).resume_point(START).mode_key.startswith("sequential")


def test_resume_after_repeated_kills_reaches_the_end(demo_model: WhisperModel, opening: Recording) -> None:
    transcriber = Transcriber(demo_model, SpeechOptions(max_span_s=15))
    whole, end = saved_after(list(transcriber.transcribe(opening, "en")))
    segments: list[SavedSegment] = []
    checkpoint, lives = transcriber.resume_point(START), 0
    while checkpoint != end:
        lives += 1
        segments = segments[: checkpoint.segment_count]
        passages = transcriber.transcribe(opening, "en", checkpoint)
        before = checkpoint
        for passage in passages:
            segments.extend(passage.segments)
            checkpoint = passage.checkpoint
            if checkpoint != before:
                break
    assert lives > 4
    assert segments == whole


def test_position_grows_to_the_end_of_the_recording(demo_model: WhisperModel, opening: Recording) -> None:
    positions = [p.position_s for p in Transcriber(demo_model, SpeechOptions(max_span_s=15)).transcribe(opening, "en")]
    assert positions == list(accumulate(positions, max))
    assert positions[-1] == pytest.approx(opening.duration_s)


def test_silence_is_skipped_and_counted(demo_model: WhisperModel, tmp_path: Path) -> None:
    (tmp_path / "silence.pcm").write_bytes(np.zeros(SAMPLE_RATE * 70, dtype=np.int16).tobytes())
    silence = Recording(tmp_path / "silence.pcm", SAMPLE_RATE * 70)
    passages = list(Transcriber(demo_model, SpeechOptions(max_span_s=15)).transcribe(silence, "en"))
    assert [passage.segments for passage in passages] == [()] * len(passages)
    assert passages[-1].position_s == 70
    assert passages[-1].checkpoint.findings.silence_s == pytest.approx(70)


@pytest.mark.parametrize("saved", [None, {}, {"version": 1, "span_start": 5}, {"version": 2, "span_start": 5, "x": 1}])
def test_checkpoint_of_an_unknown_version_starts_over(saved: dict[str, int] | None) -> None:
    assert read_checkpoint(saved) == START


def test_part_of_a_window_at_the_end_of_a_span_is_left_to_the_next(
    demo_model: WhisperModel, opening: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    encode = WindowDecoder.encode

    def recording_encode(self: WindowDecoder, windows: Sequence[Window]) -> EncodedWindows:
        lengths.extend(len(window.samples) for window in windows)
        return encode(self, windows)

    monkeypatch.setattr(WindowDecoder, "encode", recording_encode)
    transcriber = Transcriber(demo_model, SpeechOptions(max_span_s=15))
    assert list(transcriber.transcribe(opening, "en"))
    window = WindowDecoder(demo_model, transcriber.options).window_samples
    assert len(lengths) > 2
    assert all(length == window for length in lengths[:-1]), lengths
