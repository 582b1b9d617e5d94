"""The spoken texts of the test recordings, and the word error rate of a transcript."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import smelt

REPOSITORY = Path(__file__).resolve().parents[3]
RECORDINGS = REPOSITORY / "tests" / "recordings"
STANDUP = Path(smelt.__file__).parent / "cli" / "recordings" / "standup.ogg"

# The options of the processor: windows are independent, each transcribed once.
SINGLE_PASS: dict[str, Any] = {"language": "en", "condition_on_previous_text": False, "temperature": 0.0}
SEQUENTIAL: dict[str, dict[str, Any]] = {
    "sequential": SINGLE_PASS,
    "voice activity detection": {**SINGLE_PASS, "vad_filter": True},
    "word times": {**SINGLE_PASS, "word_timestamps": True},
}
# The default omits timestamps, without which a window is a single segment.
BATCHED: dict[str, Any] = {"language": "en", "without_timestamps": False, "batch_size": 8}


@dataclass(frozen=True)
class SpokenWord:
    start: float
    end: float
    word: str


def text_of(recording: Path) -> str:
    """Return the text beside a recording as one line; `name-variant.wav` shares the text of `name`."""
    return " ".join((recording.parent / f"{recording.stem.partition('-')[0]}.txt").read_text().split())


def words_of(truth: Path) -> list[SpokenWord]:
    """Return the words with their times, from the .json that was made with the recording."""
    utterances = json.loads(truth.read_text())["utterances"]
    return [SpokenWord(**word) for utterance in utterances for word in utterance["words"]]


def joined(segments: Iterable[Any]) -> str:
    """Return the text of a transcription."""
    return "".join(segment.text for segment in segments).strip()


def word_error_rate(spoken: str, transcribed: str) -> float:
    """Return the missing, added or wrong words per spoken word."""
    expected, found = words(spoken), words(transcribed)
    row = list(range(len(found) + 1))
    for above, word in enumerate(expected):
        diagonal, row[0] = above, above + 1
        for at, other in enumerate(found, 1):
            diagonal, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, diagonal + (word != other))
    return row[-1] / len(expected)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
