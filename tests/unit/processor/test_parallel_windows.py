"""A model with several lanes transcribes windows of a recording at a time, with the text of one window at a time."""

from collections.abc import Sequence
from contextlib import closing
from threading import Barrier, Lock, active_count

import pytest
from faster_whisper import WhisperModel

from smelt.contract.work import SavedSegment
from smelt.processor.media.recording import Recording
from smelt.processor.speech.checkpoint import START, Checkpoint
from smelt.processor.speech.decoder import Window
from smelt.processor.speech.model import load_model
from smelt.processor.speech.parallel import ParallelTranscriber
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import ModelOptions, Passage, SpeechOptions
from smelt.processor.speech.windows import WindowResult, WindowTranscriber

TIMEOUT_S = 60.0
MODES = {
    "default": SpeechOptions(),
    "word times": SpeechOptions(word_times=True, max_span_s=15),
    "without voice detection": SpeechOptions(vad=False),
}


@pytest.fixture(scope="module")
def three_lanes() -> WhisperModel:
    """Return the model in the package with three lanes."""
    return load_model(ModelOptions(cpu_threads=1, lanes=3))


def segments_of(passages: Sequence[Passage]) -> list[SavedSegment]:
    return [segment for passage in passages for segment in passage.segments]


def checkpoints_of(passages: Sequence[Passage]) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    for passage in passages:
        if passage.checkpoint not in found:
            found.append(passage.checkpoint)
    return found


def findings_of(passage: Passage) -> dict[str, object]:
    findings = passage.checkpoint.findings
    # A sum that is rounded in another order.
    return findings.model_dump() | {"silence_s": pytest.approx(findings.silence_s)}


@pytest.mark.parametrize("mode", MODES)
def test_text_of_several_windows_at_a_time_equals_that_of_one(
    mode: str, two_lanes: WhisperModel, three_lanes: WhisperModel, standup: Recording
) -> None:
    two, three, alone = (
        list(Transcriber(model, MODES[mode], is_alone=is_alone).transcribe(standup, "en"))
        for model, is_alone in ((two_lanes, False), (three_lanes, False), (two_lanes, True))
    )
    assert segments_of(two) == segments_of(three) == segments_of(alone)
    assert findings_of(two[-1]) == findings_of(three[-1]) == findings_of(alone[-1])
    # A recording that is alone has a checkpoint after each window.
    assert len(checkpoints_of(alone)) > len(checkpoints_of(two)) > 2


@pytest.mark.parametrize("is_alone", [False, True], ids=["together", "alone"])
@pytest.mark.parametrize("mode", MODES)
def test_resume_from_any_checkpoint_gives_the_same_text_in_other_steps(
    mode: str, is_alone: bool, two_lanes: WhisperModel, opening: Recording
) -> None:
    passages = list(Transcriber(two_lanes, MODES[mode], is_alone=is_alone).transcribe(opening, "en"))
    whole = segments_of(passages)
    for checkpoint in checkpoints_of(passages)[:-1]:
        resumed = list(Transcriber(two_lanes, MODES[mode]).transcribe(opening, "en", checkpoint))
        assert whole[: checkpoint.segment_count] + segments_of(resumed) == whole
        assert findings_of(resumed[-1]) == findings_of(passages[-1])


def test_checkpoint_is_valid_for_any_number_of_lanes_but_one(
    demo_model: WhisperModel, two_lanes: WhisperModel, three_lanes: WhisperModel
) -> None:
    one, two, three = (
        Transcriber(model, SpeechOptions()).resume_point(START).mode_key
        for model in (demo_model, two_lanes, three_lanes)
    )
    assert one != two == three


@pytest.mark.parametrize("is_alone", [False, True])
def test_windows_are_transcribed_in_threads_unless_the_recording_is_alone(
    is_alone: bool, two_lanes: WhisperModel, standup: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcribe, lock, both = WindowTranscriber.transcribe, Lock(), Barrier(2)
    sizes, running, counts = [], [], []

    def counted(self: WindowTranscriber, windows: Sequence[Window]) -> list[WindowResult]:
        with lock:
            sizes.append(len(windows))
            running.append(self)
            counts.append(len(running))
        # Each window of the first step with several of them waits for another one.
        if not is_alone and len(sizes) in (2, 3):
            both.wait(TIMEOUT_S)
        try:
            return transcribe(self, windows)
        finally:
            with lock:
                running.pop()

    monkeypatch.setattr(WindowTranscriber, "transcribe", counted)
    assert list(Transcriber(two_lanes, SpeechOptions(), is_alone=is_alone).transcribe(standup, "en"))
    assert set(sizes) == {1}
    if is_alone:
        assert max(counts) == 1
    else:
        assert 2 <= max(counts) <= two_lanes.model.num_workers


def test_first_window_is_a_step_of_its_own_and_all_but_the_last_step_are_full(
    two_lanes: WhisperModel, standup: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a window at the end of a span is left to the next one."""
    sizes, transcribe = [], ParallelTranscriber.transcribe

    def recorded(self: ParallelTranscriber, windows: Sequence[Window]) -> list[WindowResult]:
        sizes.append(len(windows))
        return transcribe(self, windows)

    monkeypatch.setattr(ParallelTranscriber, "transcribe", recorded)
    assert list(Transcriber(two_lanes, SpeechOptions(max_span_s=30)).transcribe(standup, "en"))
    assert sizes == [1, 4, 3]


def test_transcription_that_is_closed_early_leaves_no_thread(two_lanes: WhisperModel, standup: Recording) -> None:
    before = active_count()
    with closing(Transcriber(two_lanes, SpeechOptions()).transcribe(standup, "en")) as passages:
        while not next(passages).checkpoint.span_start:
            pass
        while not next(passages).segments:
            pass
        # One of them prepares the next span.
        assert active_count() == before + two_lanes.model.num_workers + 1
    assert active_count() == before


def test_error_in_a_thread_ends_the_transcription_and_all_threads(
    two_lanes: WhisperModel, standup: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, count, transcribe = active_count(), 0, WindowTranscriber.transcribe

    def failing(self: WindowTranscriber, windows: Sequence[Window]) -> list[WindowResult]:
        nonlocal count
        count += 1
        if count == 3:
            raise RuntimeError("out of memory")
        return transcribe(self, windows)

    monkeypatch.setattr(WindowTranscriber, "transcribe", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(Transcriber(two_lanes, SpeechOptions()).transcribe(standup, "en"))
    assert active_count() == before


@pytest.mark.parametrize(("batch_size", "lanes", "count"), [(0, 1, 1), (0, 2, 4), (0, 4, 4), (8, 1, 8), (8, 2, 8)])
def test_step_has_the_windows_of_a_batch_or_some_for_each_lane(batch_size: int, lanes: int, count: int) -> None:
    assert SpeechOptions(batch_size=batch_size).windows_per_step(lanes) == count
