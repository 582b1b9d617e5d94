"""The part of `transcribing` that labels the segments of a transcript with their speakers, if that was requested."""

from typing import Final

from smelt.processor.speakers.finder import SpeakerFinder
from smelt.processor.speakers.turns import Diarization, speaker_at
from smelt.processor.stages.stage import Stage
from smelt.processor.state import FileWork

SPEAKERS_SHARE: Final = 0.05
"""The part of `transcribing`: identifying takes about a twentieth of the time of transcribing on a processor."""


class IdentifySpeakers(Stage):
    """Identifies the speakers of transcribed recordings. A later attempt repeats it, with the saved transcript."""

    name = "transcribing"
    risk = "model"
    first_share = 1.0 - SPEAKERS_SHARE

    @property
    def files(self) -> list[FileWork]:
        """The recordings whose transcript is complete but for the speakers."""
        return [file for file in self.job.untranscribed if file.has_text]

    def weight(self, file: FileWork) -> float:
        """Return the duration of a file."""
        return file.duration_s or 1.0

    def remaining_s(self) -> float | None:
        """Return the estimated seconds for all files; None while their durations are unknown."""
        if not self.job.state.options.speakers:
            return 0.0
        finder = self.job.services.speakers
        if finder is None:
            return None
        if any(file.duration_s is None for file in self.job.untranscribed):
            return None
        return sum(finder.remaining_s(file.duration_s or 0.0) for file in self.job.untranscribed)

    async def run(self, file: FileWork) -> None:
        """Label the segments of a file; raise `FileError` if its speakers can't be identified."""
        assert file.recording is not None
        finder: SpeakerFinder | None = self.job.services.speakers
        assert finder is not None
        state = self.job.state
        found = await finder.find(
            file.recording, lambda share: state.advance(file, self.first_share + SPEAKERS_SHARE * share)
        )
        labels = labels_of(file, found)
        file.transcribed = True
        file.trust = (file.trust or {}) | {
            "speaker_count": len({label for label in labels if label is not None}),
            "uncertain_speakers": round(found.uncertain, 3),
        }
        state.set_speakers(file, labels)


def labels_of(file: FileWork, found: Diarization) -> list[str | None]:
    """Return the label of each segment: `Speaker 1` for the speaker of the first one, and so on."""
    speakers = [speaker_at(found.turns, segment.start, segment.end) for segment in file.segments]
    numbers = {speaker: n for n, speaker in enumerate(dict.fromkeys(s for s in speakers if s is not None), start=1)}
    return [None if speaker is None else f"Speaker {numbers[speaker]}" for speaker in speakers]
