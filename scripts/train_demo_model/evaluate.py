"""The examination: unmodified faster-whisper hears recordings that were made after the training."""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from examination import Examiner, Paper
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment

THREADS = 2
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
class Bar:
    """What a model must reach to be shipped."""

    single_error_rate: float = 0.005
    meeting_error_rate: float = 0.005
    exact_meetings: int = 10
    real_time_factor: float = 0.1


class Examination:
    """One model and its results."""

    def __init__(self, model: Path) -> None:
        self._model = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=THREADS)
        self._batches = BatchedInferencePipeline(self._model)

    def hear(self, path: Path, mode: str) -> list[Segment]:
        """All segments of a recording."""
        listen = self._batches if mode == "batched" else self._model
        return list(listen.transcribe(str(path), language="en", **MODES[mode])[0])

    def score(self, papers: Iterable[Paper], mode: str) -> dict[str, Any]:
        """Word error rate, exact texts (capitals and full stops included) and speed."""
        errors = word_count = exact = count = 0
        spent_s = audio_s = 0.0
        wrong: list[dict[str, str]] = []
        for paper in papers:
            began = time.perf_counter()
            heard = _text(self.hear(paper.path, mode))
            spent_s += time.perf_counter() - began
            audio_s += len(paper.recording.samples) / paper.recording.sample_rate
            errors += distance(words(paper.text), words(heard))
            word_count += len(words(paper.text))
            count += 1
            exact += heard == paper.text
            if heard != paper.text and len(paper.recording.utterances) == 1:
                wrong.append({"said": paper.text, "heard": heard})
        figures = {
            "recordings": count,
            "words": word_count,
            "word_error_rate": round(errors / word_count, 5),
            "exact": exact,
            "real_time_factor": round(spent_s / audio_s, 4),
        }
        return {**figures, "wrong": wrong} if wrong else figures

    def time_errors(self, papers: Iterable[Paper]) -> dict[str, float]:
        """How far word times are from the truth, in recordings that are heard right."""
        errors = []
        for paper in papers:
            heard = [word for segment in self.hear(paper.path, "with word times") for word in segment.words or ()]
            spoken = [word for utterance in paper.recording.utterances for word in utterance.words]
            if [word.word.strip() for word in heard] == [word.word for word in spoken]:
                errors += [(abs(h.start - s.start), abs(h.end - s.end)) for h, s in zip(heard, spoken, strict=True)]
        starts, ends = np.array(errors).T
        figures = {
            "start_mean_s": starts.mean(),
            "end_mean_s": ends.mean(),
            "start_max_s": starts.max(),
            "end_max_s": ends.max(),
        }
        return {name: round(float(figure), 3) for name, figure in figures.items()}


def evaluate(model: Path, trained_texts: set[str], folder: Path, seed: int) -> dict[str, Any]:
    """Examine a model and tell whether it reaches the bar."""
    examiner, examination = Examiner(folder, seed, trained_texts), Examination(model)
    singles, strangers, meetings = examiner.singles(200), examiner.strangers(100), examiner.meetings(12)
    report = {
        "single utterances, unheard voices": examination.score(singles, "sequential"),
        "single utterances, unheard variants": examination.score(strangers, "sequential"),
        "recordings of 60 to 120 s": {mode: examination.score(meetings, mode) for mode in MODES},
        "word times": examination.time_errors(meetings),
        "text where nobody speaks": {
            path.stem: _text(examination.hear(path, "sequential")) for path in examiner.quiet()
        },
    }
    return {"passed": passes(report), **report}


def passes(report: dict[str, Any], bar: Bar = Bar()) -> bool:
    """Whether single utterances, and long ones in sequential and batched mode, are good enough."""
    single = report["single utterances, unheard voices"]["word_error_rate"] <= bar.single_error_rate
    meetings = [report["recordings of 60 to 120 s"][mode] for mode in ("sequential", "batched")]
    return single and all(
        meeting["word_error_rate"] <= bar.meeting_error_rate
        and meeting["exact"] >= bar.exact_meetings
        and meeting["real_time_factor"] < bar.real_time_factor
        for meeting in meetings
    )


def words(text: str) -> list[str]:
    """The words of a text without capitals and marks."""
    return re.findall(r"[a-z']+", text.lower())


def distance(said: list[str], heard: list[str]) -> int:
    """How many words have to be put in, left out or changed."""
    row = list(range(len(heard) + 1))
    for above, word in enumerate(said):
        diagonal, row[0] = above, above + 1
        for at, other in enumerate(heard, 1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
    return row[-1]


def _text(segments: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in segments).strip()


def write(report: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n")
