"""Identifies the speakers of recordings in child processes, one recording at a time."""

import asyncio
import logging
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from smelt.distribution import install_command
from smelt.errors import SettingsError
from smelt.processor.children.process import Child, ChildDied
from smelt.processor.errors import ChildKilled, ChildUnusable, FileError
from smelt.processor.media.recording import Recording
from smelt.processor.speakers.turns import Diarization, Turn

logger = logging.getLogger(__name__)

MODULE: Final = "smelt.processor.children.speakers"
# Between two messages: the child reads the speech of the whole recording first, at 100 times its speed or more.
_TIMEOUT_S: Final = 600.0
# Threads reserve address space, which is limited.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Seconds for a second of audio, until it is measured.
_TYPICAL_SPEED: Final = 0.05

_SENTENCE: Final = "The speakers could not be identified. Request a transcript without speakers."


class SpeakerFinder:
    """Identifies speakers with one model, an ONNX file; raises `SettingsError` if that can't be used here."""

    def __init__(self, model: Path, module: str = MODULE) -> None:
        if not model.is_file():
            raise SettingsError(f"SMELT_SPEAKER_MODEL={model} is not a file")
        if any(find_spec(package) is None for package in ("kaldi_native_fbank", "onnxruntime", "scipy")):
            raise SettingsError(f"SMELT_SPEAKER_MODEL needs packages that are missing: {install_command('speakers')}")
        self._model = model.absolute()
        self._module = module
        self._turn = asyncio.Lock()
        self._speed = _TYPICAL_SPEED

    def remaining_s(self, audio_s: float) -> float:
        """Return the estimated seconds for so many seconds of audio."""
        return audio_s * self._speed

    async def find(self, recording: Recording, on_share: Callable[[float], None]) -> Diarization:
        """Return who speaks when; `on_share` is called with the share that is done, 0 to 1.

        Raises:
            FileError: Two processes have died of this recording, or the model rejects it.
            ChildKilled: A process was killed, and not by this worker.
            ChildUnusable: No process can be started.
        """
        async with self._turn:
            started_s = time.monotonic()
            try:
                found = await self._in_child(recording, on_share)
            except ChildDied as exc:
                logger.warning("trying once more: %s", exc)
                try:
                    found = await self._in_child(recording, on_share)
                except ChildDied as again:
                    raise FileError("transcription_failed", str(again), _SENTENCE) from again
            self._speed = (time.monotonic() - started_s) / max(1.0, recording.duration_s)
            return found

    async def _in_child(self, recording: Recording, on_share: Callable[[float], None]) -> Diarization:
        """Return the result of a child of its own; raise `ChildDied` if it dies of the recording."""
        try:
            child = await Child.start(self._module, environment=_ENVIRONMENT)
        except (ChildDied, OSError) as exc:
            raise ChildUnusable(f"no speakers can be identified: {exc}") from exc
        try:
            child.stage = "working"
            with recording.path.open("rb") as samples:
                message = {"type": "diarize", "model": str(self._model), "sample_count": recording.sample_count}
                await child.send(message, [samples.fileno()])
            return await _result(child, on_share)
        except ChildDied as exc:
            if exc.death.fault == "unknown":
                raise ChildKilled(str(exc)) from exc
            raise
        finally:
            child.stage = "idle"
            await child.end()


async def _result(child: Child, on_share: Callable[[float], None]) -> Diarization:
    turns: list[Turn] = []
    while True:
        match await child.receive(_TIMEOUT_S):
            case {"type": "share", "share": float(share) | int(share)}:
                on_share(share)
            case {"type": "turns", "turns": list(part)}:
                turns += [Turn(float(start), float(end), int(speaker)) for start, end, speaker in part]
            case {"type": "end", "uncertain": float(uncertain) | int(uncertain)}:
                return Diarization(turns, uncertain)
            case {"type": "failed", "text": str(text)}:
                raise FileError("transcription_failed", text, _SENTENCE)
            case _:
                await child.fail("protocol", "it sent an unknown message")
