"""Code that runs at the start of child processes, to make them fail."""

import os
from pathlib import Path

import pytest


class PatchedChildren:
    """Patches the children of this process; `calls` has a line for each event that the code has recorded."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._calls = folder / "calls"
        self._calls.mkdir()
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        monkeypatch.setenv("PYTHONPATH", path)

    def run(self, code: str, module: str = "model") -> None:
        """Run this at the start of each child of this kind; `record(line)` is defined there, and returns the count."""
        # Empty files: a child may not be allowed to write.
        program = f"""
def record(line):
    import os
    while True:
        lines = [name[5:] for name in sorted(os.listdir({str(self._calls)!r}))]
        try:
            # Several threads may record the same line.
            os.close(os.open(f"{self._calls}/{{len(lines):04}} {{line}}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return lines.count(str(line)) + 1
{code}
"""
        (self.folder / "sitecustomize.py").write_text(
            f"import sys\nif 'smelt.processor.children.{module}' in sys.orig_argv:\n    exec({program!r}, {{}})\n"
        )

    def crash(self, name: str, *, at: int, times: int) -> None:
        """Send itself a signal before a passage of its first `times` transcriptions."""
        self.run(
            f"""
import os, signal
from smelt.processor.speech.transcriber import Transcriber
real = Transcriber.transcribe
def transcribe(*arguments, **more):
    number_of_transcription = record("transcription")
    for number, passage in enumerate(real(*arguments, **more)):
        if number == {at} and number_of_transcription <= {times}:
            signal.raise_signal(signal.{name})
        yield passage
Transcriber.transcribe = transcribe
"""
        )

    def heal(self) -> None:
        """Run nothing any more."""
        self.run("")

    @property
    def calls(self) -> list[str]:
        """The recorded lines."""
        return [path.name[5:] for path in sorted(self._calls.iterdir())]
