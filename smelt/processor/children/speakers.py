"""The child that identifies the speakers of one recording; `python -m` starts it, `SpeakerFinder` talks to it.

It receives {"type": "diarize", "model": path, "sample_count"} and a file with the samples of one channel, and responds
with {"type": "share", "share"} several times, then {"type": "turns", "turns": [[start, end, speaker], ...]} until all
are sent, and {"type": "end", "uncertain"}; or with {"type": "failed", "text"} if the model can't be used. It ends after
one recording, and itself limits its memory.
"""

from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from smelt.processor.children.frames import READY
from smelt.processor.children.inside import Parent, connect, leave, limit_files, limit_memory

# A part of the recording, and the distances of all pairs of windows.
_MEMORY_BYTES: Final = 2 * 1024**3
_OPEN_FILES: Final = 32
_TURNS_AT_A_TIME: Final = 1000


def main() -> None:
    """Identify the speakers of one recording."""
    parent = connect()
    import_module("smelt.processor.speakers.diarization")
    parent.send(READY)
    message, descriptors = parent.receive()
    limit_memory(_MEMORY_BYTES)
    limit_files(max_bytes=0, max_open=_OPEN_FILES)
    _diarize(parent, Path(message["model"]), Path(f"/dev/fd/{descriptors[0]}"), int(message["sample_count"]))


def _diarize(parent: Parent, model: Path, samples: Path, sample_count: int) -> NoReturn:
    from smelt.processor.media.recording import Recording
    from smelt.processor.speakers.diarization import diarize
    from smelt.processor.speakers.embedding import VoiceModel, VoiceModelError

    def on_share(share: float) -> None:
        parent.send({"type": "share", "share": share})

    try:
        found = diarize(Recording(samples, sample_count), VoiceModel(model), on_share)
    except VoiceModelError as exc:
        parent.send({"type": "failed", "text": str(exc)})
        leave()
    for at in range(0, len(found.turns), _TURNS_AT_A_TIME):
        part = found.turns[at : at + _TURNS_AT_A_TIME]
        parent.send({"type": "turns", "turns": [[turn.start, turn.end, turn.speaker] for turn in part]})
    parent.send({"type": "end", "uncertain": found.uncertain})
    leave()


if __name__ == "__main__":
    main()
