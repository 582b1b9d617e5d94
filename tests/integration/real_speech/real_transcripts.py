"""The recordings of real speech that are transcribed, and their transcripts."""

import re
from dataclasses import dataclass

from smelt.contract.state import FileSegment, FileState
from smelt.transcripts.formats import format_transcript

RECORDINGS = (
    *("jfk.flac", "meeting_ami_tst00.flac", "multilingual.mp3", "dtx_gap.ogg", "dtx_gap.webm", "late_audio.mkv"),
    *("screencast_audio_ends_early.webm", "zeros_0.2s.aac", "vbr_noxing_info_tag.mp3", "obs_two_tracks.mkv"),
    *("call_phase_inverted.flac", "noise_between.flac"),
)
# The name of a part, its recording, and its times: long ones are transcribed in part, to save time.
PARTS = {"german_then_english.wav": ("de_then_en.flac", 28.0, 99.5), "readers.wav": ("ten.flac", 0.0, 60.0)}


@dataclass(frozen=True)
class Cue:
    """A caption, in seconds of its recording."""

    start: float
    end: float
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Transcript:
    """A file of a smelt as its user sees it."""

    file: FileState
    segments: tuple[FileSegment, ...]

    @property
    def text(self) -> str:
        """The text of all segments."""
        return " ".join(segment.text.strip() for segment in self.segments)

    @property
    def languages(self) -> set[str]:
        """The languages of the transcribed speech."""
        assert self.file.trust is not None
        return {found["language"] for found in self.file.trust.model_dump()["languages"]}

    @property
    def cues(self) -> list[Cue]:
        """The captions."""
        found = []
        for block in format_transcript("srt", self.segments, self.file).strip().split("\n\n"):
            _, times, *rows = block.splitlines()
            start, end = (_seconds(time) for time in times.split(" --> "))
            found.append(Cue(start, end, tuple(rows)))
        return found


def _seconds(time: str) -> float:
    hours, minutes, seconds, milliseconds = map(int, re.split("[:,]", time))
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
