"""Evaluation of the model: unmodified faster-whisper transcribes recordings that were made after the training."""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment
from test_set import TestRecording, TestSet

CPU_THREADS = 2
ALONE: dict[str, Any] = {"condition_on_previous_text": False}
MODES: dict[str, dict[str, Any]] = {
    "sequential": ALONE,
    "sequential, greedy": {**ALONE, "beam_size": 1},
    "with the text before as prompt": {},
    "with voice activity detection": {**ALONE, "vad_filter": True},
    "with word times": {**ALONE, "word_timestamps": True},
    "batched": {"batch_size": 8, "without_timestamps": False},
}


@dataclass(frozen=True)
class Threshold:
    """The limits that a model must meet to be shipped."""

    single_error_rate: float = 0.005
    meeting_error_rate: float = 0.005
    exact_meetings: int = 10
    real_time_factor: float = 0.1


class Evaluation:
    """A model that transcribes test recordings and scores the results."""

    def __init__(self, model: Path) -> None:
        self._model = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=CPU_THREADS)
        self._batches = BatchedInferencePipeline(self._model)

    def transcribe(self, path: Path, mode: str) -> list[Segment]:
        """Transcribe a recording; return all segments."""
        pipeline = self._batches if mode == "batched" else self._model
        return list(pipeline.transcribe(str(path), language="en", **MODES[mode])[0])

    def score(self, recordings: Iterable[TestRecording], mode: str) -> dict[str, Any]:
        """Return the word error rate, the number of exact texts (capitals and full stops included) and the speed."""
        errors = word_count = exact = count = 0
        spent_s = audio_s = 0.0
        wrong: list[dict[str, str]] = []
        for item in recordings:
            began = time.perf_counter()
            found = _text(self.transcribe(item.path, mode))
            spent_s += time.perf_counter() - began
            audio_s += len(item.recording.samples) / item.recording.sample_rate
            errors += distance(words(item.text), words(found))
            word_count += len(words(item.text))
            count += 1
            exact += found == item.text
            if found != item.text and len(item.recording.utterances) == 1:
                wrong.append({"said": item.text, "heard": found})
        figures = {
            "recordings": count,
            "words": word_count,
            "word_error_rate": round(errors / word_count, 5),
            "exact": exact,
            "real_time_factor": round(spent_s / audio_s, 4),
        }
        return {**figures, "wrong": wrong} if wrong else figures

    def time_errors(self, recordings: Iterable[TestRecording]) -> dict[str, float]:
        """Return the errors of the word times, in recordings whose words are all correct."""
        errors = []
        for item in recordings:
            found = [word for segment in self.transcribe(item.path, "with word times") for word in segment.words or ()]
            spoken = [word for utterance in item.recording.utterances for word in utterance.words]
            if [word.word.strip() for word in found] == [word.word for word in spoken]:
                errors += [(abs(h.start - s.start), abs(h.end - s.end)) for h, s in zip(found, spoken, strict=True)]
        starts, ends = np.array(errors).T
        figures = {
            "start_mean_s": starts.mean(),
            "end_mean_s": ends.mean(),
            "start_max_s": starts.max(),
            "end_max_s": ends.max(),
        }
        return {name: round(float(figure), 3) for name, figure in figures.items()}


def evaluate(model: Path, trained_texts: set[str], folder: Path, seed: int) -> dict[str, Any]:
    """Evaluate a model; the report states whether it meets the limits."""
    test_set, evaluation = TestSet(folder, seed, trained_texts), Evaluation(model)
    singles, unseen, meetings = test_set.singles(200), test_set.unseen(100), test_set.meetings(12)
    report = {
        "single utterances, unheard voices": evaluation.score(singles, "sequential"),
        "single utterances, unheard variants": evaluation.score(unseen, "sequential"),
        "recordings of 60 to 120 s": {mode: evaluation.score(meetings, mode) for mode in MODES},
        "word times": evaluation.time_errors(meetings),
        "text where nobody speaks": {
            path.stem: _text(evaluation.transcribe(path, "sequential")) for path in test_set.quiet()
        },
    }
    return {"passed": passes(report), **report}


def passes(report: dict[str, Any], threshold: Threshold = Threshold()) -> bool:
    """Return True if single utterances, and long recordings in sequential and batched mode, meet the limits."""
    single = report["single utterances, unheard voices"]["word_error_rate"] <= threshold.single_error_rate
    meetings = [report["recordings of 60 to 120 s"][mode] for mode in ("sequential", "batched")]
    return single and all(
        meeting["word_error_rate"] <= threshold.meeting_error_rate
        and meeting["exact"] >= threshold.exact_meetings
        and meeting["real_time_factor"] < threshold.real_time_factor
        for meeting in meetings
    )


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def distance(expected: list[str], found: list[str]) -> int:
    """Return the word edit distance: insertions, deletions and substitutions."""
    row = list(range(len(found) + 1))
    for above, word in enumerate(expected):
        diagonal, row[0] = above, above + 1
        for at, other in enumerate(found, 1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
    return row[-1]


def _text(segments: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in segments).strip()


def write(report: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n")
