"""A file, and the parts of its transcript."""

from collections.abc import Sequence
from uuid import UUID

from smelt.contract.state import FileSegment, FileState, Word

FILE = FileState(
    id=UUID(int=1),
    filename="a.mp3",
    position=0,
    input_type="audio",
    size_bytes=5,
    status="completed",
    stage="completed",
    progress=100,
)


def segment(start: float, end: float, text: str, words: Sequence[Word] | None = None, index: int = 0) -> FileSegment:
    return FileSegment(
        file_id=FILE.id, index=index, start=start, end=end, text=text, words=None if words is None else tuple(words)
    )


def word(text: str, start: float, end: float) -> Word:
    return Word(word=text, start=start, end=end, probability=0.9)
