"""The transcript as the result of a smelt without prompts: paragraphs in Markdown. Pure."""

from collections.abc import Iterable
from typing import Final

from smelt.contract.work import SavedSegment
from smelt.processor.synthesis.markdown import inline
from smelt.processor.synthesis.request import NO_SPEECH
from smelt.processor.synthesis.sentences import CLOSING, joined
from smelt.transcripts.formats import speaker_labels

# A speaker who pauses for longer begins another paragraph.
_MAX_PAUSE_S: Final = 2.0
# A longer paragraph ends with its sentence.
_MAX_CHARACTERS: Final = 600


def paragraphs(segments: Iterable[SavedSegment]) -> str:
    """Return the text in paragraphs, each of one speaker, who is named where the speaker changes."""
    texts: list[str] = []
    speakers: list[str | None] = []
    end_s = 0.0
    for segment in segments:
        text = segment.text.strip()
        if texts and segment.speaker == speakers[-1] and not _is_over(texts[-1], segment.start - end_s):
            texts[-1] = joined(texts[-1], text)
        elif text:
            texts.append(text)
            speakers.append(segment.speaker)
        end_s = segment.end
    labels = speaker_labels(speakers)
    return "\n\n".join(inline(label + text) for label, text in zip(labels, texts, strict=True)) or NO_SPEECH


def paragraphs_of_text(text: str) -> str:
    """Return the paragraphs of a text."""
    return "\n\n".join(inline(part) for part in text.split("\n\n") if part.strip())


def _is_over(paragraph: str, pause_s: float) -> bool:
    return pause_s > _MAX_PAUSE_S or (len(paragraph) > _MAX_CHARACTERS and paragraph.endswith(tuple(CLOSING)))
