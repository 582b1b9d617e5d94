"""Transcribes several windows at a time, each by itself."""

from collections.abc import Sequence
from concurrent.futures import Executor

from smelt.processor.speech.decoder import Window, WindowDecoder
from smelt.processor.speech.windows import WindowResult, WindowTranscriber


class ParallelTranscriber(WindowTranscriber):
    """Transcribes each window in one of some threads, so that the model computes them in its lanes.

    Unlike in a batch, the result of a window does not depend on the other windows.
    """

    def __init__(self, decoder: WindowDecoder, threads: Executor, *, main_language: str, language: str | None) -> None:
        super().__init__(decoder, main_language=main_language, language=language)
        self._threads = threads

    def transcribe(self, windows: Sequence[Window]) -> list[WindowResult]:
        """Transcribe some windows; a window ends where its language changes."""
        transcribe = super().transcribe
        return [result for [result] in self._threads.map(transcribe, ([window] for window in windows))]
