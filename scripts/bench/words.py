"""Compare the words of smelt with those of faster-whisper, for each recording of a folder.

    python scripts/bench/words.py [FOLDER] [--only jfk,ten] [--batch-size 8] [--lanes 2] [--word-times] [--skip-long]

Prints one JSON object per recording, one with the sums and the verdict, and the sums as figures; exits with 1 if a
recording fails.

- The reference is the known text: `NAME.txt` beside `NAME.flac`, or that of `known_texts.py`. Without one, it is the
  text of *bare*.
- *bare* is faster-whisper with its defaults, with the same model and file. It is slow, so its transcripts are cached,
  and those of recordings over half an hour are read from `NAME.bare.json` beside the recording, if there is one.
- `NAME.bare.json`, `NAME.barevad.json`, `NAME.bareb.json` and `NAME.smelt-before.json` beside a recording are further
  transcripts to compare with, as are the lines that an earlier run printed (`--before FILE`).
- A recording fails if it is rejected, has a loop, lacks several words in a row, lacks more seconds of speech than bare,
  has a segment across a long pause, lacks one of its languages, or begins at another time than its speech.
- It also fails with clearly more errors than the best other transcript. Without a known text, that holds if another
  transcript differs little from bare, so for clear speech; otherwise it needs most of the number of words.
- With a known text, it also fails with many errors, even if bare has as many.
- The sum fails if the errors against known texts exceed those of bare.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from bench_common import print_figure
from faster_whisper import WhisperModel, decode_audio
from faster_whisper.vad import VadOptions, get_speech_timestamps
from known_texts import LANGUAGES, SPEECH_STARTS_S, known_text
from platformdirs import user_cache_path
from transcribe_file import Segment, Transcription, segments_of, transcribe_file
from words_scoring import Interval, align, covered_pause_s, uncovered_s, without_loops, words_of

from smelt.processor.media.recording import SAMPLE_RATE, Samples
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber

# A row may have this many errors more than the best other transcript: a percent of the words, or three of them.
TOLERATED_ERROR_SHARE = 0.01
TOLERATED_ERRORS = 3
# A transcript in the wrong language, or of noise, has more errors against a known text, even if bare has them as well.
TOLERATED_WER = 0.25
# Without a known text: of the words of bare.
CLEAR_SPEECH_ERROR_SHARE = 0.1
MIN_WORD_SHARE = 0.75
# Words that are recognized wrongly come in shorter runs.
TOLERATED_MISSING_RUN = 5
TOLERATED_UNCOVERED_S = 2.0
TOLERATED_PAUSE_S = 6.0
TOLERATED_START_ERROR_S = 1.0
LONG_S = 1800.0
OTHER_TRANSCRIPTS = ("bare", "barevad", "bareb", "smelt-before")
NOT_AUDIO = {".json", ".jsonl", ".md", ".txt"}
# Clips without padding, cut in short pauses: the speech itself.
SPEECH = VadOptions(min_silence_duration_ms=500, speech_pad_ms=0)


@dataclass(frozen=True)
class Scores:
    """The comparison of one transcript with the reference and with the detected speech."""

    words: int
    errors: int
    missing_run: int
    loops: int
    uncovered_s: float
    covered_pause_s: float


def main(options: argparse.Namespace) -> int:
    """Print a row for each recording, then the verdict; return the exit code."""
    model = load_model(ModelOptions(name=str(options.model), compute_type=options.compute_type, lanes=options.lanes))
    speech_options = SpeechOptions(batch_size=options.batch_size, word_times=options.word_times)
    bare = Bare(model, options)
    before = _rows_of(options.before)
    rows = []
    for source in recordings(options):
        with tempfile.TemporaryDirectory(prefix="smelt-bench-") as folder:
            transcription = transcribe_file(source, Path(folder) / "decoded.pcm", Transcriber(model, speech_options))
            row = compared(source, transcription, bare.transcript(source), before.get(source.name))
        rows.append(row)
        print(json.dumps(row), flush=True)
    end = verdict(rows)
    print(json.dumps(end), flush=True)
    print_sums(end)
    return 0 if end["passed"] else 1


def print_sums(end: Mapping[str, Any]) -> None:
    """Print the sums as figures."""
    for figure, unit, key in (
        ("wrong and missing words", "words", "errors"),
        ("loops", "count", "loops"),
        ("speech without text", "s", "uncovered_s"),
        ("processor time, where both are measured,", "s", "cpu_s"),
    ):
        reference_value = end[f"bare_{key}"]
        print_figure(f"{figure} of all recordings", end[key], unit, reference="bare", reference_value=reference_value)
    print_figure(
        "recordings that fail", len(end["failed"]), "count",
        reference="promised", reference_value=0, rows=end["rows"], names=end["failed"],
    )  # fmt: skip


def recordings(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the recordings that the options select, in order of name."""
    only = set(filter(None, options.only.split(",")))
    for path in sorted(options.folder.iterdir()):
        if path.suffix in NOT_AUDIO or (only and not only & {path.name, path.stem}):
            continue
        if not (options.skip_long and _container_s(path) > LONG_S):
            yield path


def _container_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def _rows_of(printed: Path | None) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in printed.read_text().splitlines()] if printed else []
    return {row["file"]: row for row in rows}


class Bare:
    """Transcribes with the defaults of faster-whisper, and caches the transcripts by model, file and version."""

    def __init__(self, model: WhisperModel, options: argparse.Namespace) -> None:
        self._model = model
        self._folder: Path = options.cache
        release = version("faster-whisper")
        self._model_key = f"{_sha256(options.model / 'model.bin')}-{options.compute_type}-faster-whisper-{release}"

    def transcript(self, source: Path) -> dict[str, Any]:
        """Return the segments of a file, its language and the CPU seconds, which are None for a stored transcript."""
        stored = _stored(source, "bare")
        if stored.exists() and _container_s(source) > LONG_S:
            transcript = json.loads(stored.read_text())
            segments = [Segment(found["start"], found["end"], found["text"]) for found in transcript["segments"]]
            return {"language": transcript["language"], "cpu_s": None, "segments": [s._asdict() for s in segments]}
        cached = self._folder / f"{_sha256(source)}-{self._model_key}.json"
        if not cached.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            written = cached.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps(self._transcribe(source)))
            written.replace(cached)
        cached_transcript: dict[str, Any] = json.loads(cached.read_text())
        return cached_transcript

    def _transcribe(self, source: Path) -> dict[str, Any]:
        started_s = time.process_time()
        found, info = self._model.transcribe(str(source))
        segments = [segment._asdict() for segment in segments_of(found)]
        return {"language": info.language, "cpu_s": time.process_time() - started_s, "segments": segments}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def compared(
    source: Path, transcription: Transcription, bare: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the row of a recording."""
    bare_text = _joined(bare["segments"])
    known = known_text(source)
    reference = without_loops(words_of(bare_text))[0] if known is None else words_of(known)
    recording = transcription.recording
    samples = bare_samples = decode_audio(str(source))
    if recording is not None:
        samples = recording.read(0, recording.sample_count)
    speech = speech_of(samples)
    mine = scores(reference, transcription.segments, speech)
    # The samples of faster-whisper ignore the clock of the recording, and so do its segments.
    theirs = scores(reference, [Segment(**segment) for segment in bare["segments"]], speech_of(bare_samples))
    others = {"bare": theirs.errors, **other_errors(source, reference)}
    if before is not None:
        others["before"] = before["errors"]
    if known is None:  # Bare is the reference.
        del others["bare"]
        if bare["cpu_s"] is None:
            del others["stored bare"]
    best = min(others, key=lambda name: others[name], default=None)
    start_s = transcription.segments[0].start if transcription.segments else None
    speech_start_s = SPEECH_STARTS_S.get(source.stem, speech[0].start if speech else None)
    row = {
        "file": source.name,
        "reference": "bare" if known is None else "text",
        "reference_words": len(reference),
        **asdict(mine),
        "wer": round(mine.errors / len(reference), 4) if reference else None,
        "bare": asdict(theirs),
        "others": others,
        "best": best,
        "best_errors": None if best is None else others[best],
        "trust_untranscribed_s": transcription.trust.get("untranscribed_seconds"),
        "error_code": transcription.error_code,
        "start_s": start_s,
        "speech_start_s": speech_start_s,
        "start_error_s": None if start_s is None or speech_start_s is None else round(start_s - speech_start_s, 2),
        "languages": transcription.languages,
        "bare_language": bare["language"],
        "cpu_s": round(transcription.cpu_s, 1),
        "bare_cpu_s": None if bare["cpu_s"] is None else round(bare["cpu_s"], 1),
    }
    return {**row, "failures": failures(row, mine, theirs)}


def other_errors(source: Path, reference: Sequence[str]) -> dict[str, int]:
    """Return the errors of the transcripts that are stored beside a recording."""
    stored = {name: _stored(source, name) for name in OTHER_TRANSCRIPTS}
    return {
        f"stored {name}": align(reference, words_of(_stored_text(path))).errors
        for name, path in stored.items()
        if path.exists()
    }


def _stored(source: Path, name: str) -> Path:
    return source.with_suffix(f".{name}.json")


def _stored_text(path: Path) -> str:
    stored = json.loads(path.read_text())
    text: str = stored["text"] if "text" in stored else _joined(stored["segments"])
    return text


def _joined(segments: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(segment["text"] for segment in segments)


def speech_of(samples: Samples) -> list[Interval]:
    """Return the clips of speech that the voice detection of faster-whisper finds."""
    clips = get_speech_timestamps(np.asarray(samples), SPEECH)
    return [Interval(clip["start"] / SAMPLE_RATE, clip["end"] / SAMPLE_RATE) for clip in clips]


def scores(reference: Sequence[str], segments: Sequence[Segment], speech: Sequence[Interval]) -> Scores:
    """Compare a transcript with the reference and the speech."""
    words = words_of(" ".join(segment.text for segment in segments))
    alignment = align(reference, words)
    return Scores(
        words=len(words),
        errors=alignment.errors,
        missing_run=alignment.missing_run,
        loops=without_loops(words)[1],
        uncovered_s=round(uncovered_s(speech, segments), 1),
        covered_pause_s=round(covered_pause_s(speech, segments), 1),
    )


def failures(row: Mapping[str, Any], mine: Scores, bare: Scores) -> list[str]:
    """Return the rules that a row violates."""
    count, best = row["reference_words"], row["best_errors"]
    is_known = row["reference"] == "text"
    is_clear = best is not None and (is_known or best <= CLEAR_SPEECH_ERROR_SHARE * count)
    rules = {
        "rejected": row["error_code"] is not None,
        "loops": mine.loops > 0,
        "errors": is_clear and mine.errors > best + max(TOLERATED_ERRORS, TOLERATED_ERROR_SHARE * count),
        "wer": is_known and mine.errors > TOLERATED_WER * count,
        "words": not is_known and mine.words < MIN_WORD_SHARE * count,
        "missing_run": mine.missing_run > TOLERATED_MISSING_RUN,
        "uncovered_s": mine.uncovered_s > bare.uncovered_s + TOLERATED_UNCOVERED_S,
        "covered_pause_s": mine.covered_pause_s > TOLERATED_PAUSE_S,
        "languages": not LANGUAGES.get(Path(row["file"]).stem, set()) <= set(row["languages"]),
        "start_error_s": abs(row["start_error_s"] or 0.0) > TOLERATED_START_ERROR_S,
    }
    return [rule for rule, violated in rules.items() if violated]


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of all rows, and whether all of them pass and the sum of errors is below that of bare."""
    known = [row for row in rows if row["reference"] == "text"]
    errors, bare_errors = sum(row["errors"] for row in known), sum(row["bare"]["errors"] for row in known)
    timed = [row for row in rows if row["bare_cpu_s"] is not None]
    failed = {row["file"]: row["failures"] for row in rows if row["failures"]}
    return {
        "file": "all",
        "rows": len(rows),
        "reference_words": sum(row["reference_words"] for row in known),
        "errors": errors,
        "bare_errors": bare_errors,
        "best_errors": sum(row["best_errors"] for row in known),
        "loops": sum(row["loops"] for row in rows),
        "bare_loops": sum(row["bare"]["loops"] for row in rows),
        "uncovered_s": round(sum(row["uncovered_s"] for row in rows), 1),
        "bare_uncovered_s": round(sum(row["bare"]["uncovered_s"] for row in rows), 1),
        "cpu_s": round(sum(row["cpu_s"] for row in timed), 1),
        "bare_cpu_s": round(sum(row["bare_cpu_s"] for row in timed), 1),
        "failed": failed,
        "passed": not failed and (errors < bare_errors or not bare_errors),
    }


def parsed() -> argparse.Namespace:
    """Parse the command line; the folders default to those that the environment names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=_folder("SMELT_REAL_SPEECH"))
    parser.add_argument("--model", type=Path, default=_folder("SMELT_REAL_MODEL"))
    parser.add_argument("--compute-type", default="int8", help="of the model, for smelt and for bare")
    parser.add_argument("--only", default="", help="names of recordings, separated by commas")
    parser.add_argument("--skip-long", action="store_true", help="leave out recordings of more than 30 minutes")
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=1, help="several transcribe windows at a time")
    parser.add_argument("--word-times", action="store_true")
    parser.add_argument("--before", type=Path, help="the lines of an earlier run, to compare with")
    parser.add_argument("--cache", type=Path, default=user_cache_path("smelt") / "bench")
    options = parser.parse_args()
    if options.folder is None or options.model is None:
        parser.error(
            "set SMELT_REAL_SPEECH to a folder of recordings and SMELT_REAL_MODEL to one of scripts/real-model"
        )
    return options


def _folder(variable: str) -> Path | None:
    return Path(os.environ[variable]) if os.environ.get(variable) else None


if __name__ == "__main__":
    sys.exit(main(parsed()))
