"""The model child: `python -m smelt.processor.children.model PID` loads a model and transcribes recordings with it.

Each message of the worker, with its response:

    {"type": "load", "model": ModelOptions}       {"type": "loaded", "info": LoadedInfo}, or {"type": "failed", "text"}
    {"type": "transcribe", "job": Job} and a file with the samples: no response
    {"type": "next"}                              first {"type": "language", "language": Language}, then
                                                  {"type": "passage", "passage": Passage} for each, {"type": "end"};
                                                  or {"type": "error", "text"} if the model fails
    {"type": "stop"}                              {"type": "stopped"}; ends a transcription early

A passage is computed when it is requested, so that nothing piles up if the worker is slow, and a transcription that is
stopped computes no further window. Memory has no limit here, because CUDA reserves address space.
"""

import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smelt.errors import SettingsError
from smelt.processor.children.frames import READY, Message
from smelt.processor.children.inside import Parent, connect, leave
from smelt.processor.speech.values import JOB, LANGUAGE, LOADED_INFO, MODEL_OPTIONS, PASSAGE, Job, LoadedInfo

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_STARTED: Final[Message] = {"type": "started"}
_STOPPED: Final[Message] = {"type": "stopped"}
_LAST: Final = frozenset({"end", "error", "stopped"})


def main() -> None:
    """Load the model of the first message, then transcribe until the worker ends this process."""
    parent = connect()
    # Imported after `connect`, so that this process ends with its worker from the start.
    import_module("smelt.processor.speech.model")
    _write_logs()
    parent.send(READY)
    model = _load(parent)
    # Imported after the load: the worker claims the first recording meanwhile.
    import_module("smelt.processor.speech.transcriber")
    import_module("onnxruntime")
    while True:
        message, descriptors = parent.receive()
        if message["type"] == "stop":  # It had ended by itself.
            parent.send(_STOPPED)
            continue
        with FileIO(descriptors[0]) as samples:
            _transcribe(parent, model, JOB.validate_python(message["job"]), samples)


def _write_logs() -> None:
    """Write warnings to the output, which becomes a part of the worker's log."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(capture=True)
    # This import installs a handler, which would write each line of the model hub a second time.
    import_module("huggingface_hub.utils.logging")
    logging.getLogger("huggingface_hub").handlers.clear()


def _load(parent: Parent) -> "WhisperModel":
    from smelt.processor.speech.model import known_languages, load_model, names_of, smaller_compute_type

    message, _ = parent.receive()
    options = MODEL_OPTIONS.validate_python(message["model"])
    try:
        model = load_model(options)
    except SettingsError as exc:
        parent.send({"type": "failed", "text": str(exc)})
        leave()
    info = LoadedInfo(
        names=names_of(options),
        languages=known_languages(model),
        compute_type=model.model.compute_type,
        device=model.model.device,
        smaller_compute_type=smaller_compute_type(model.model),
        window_s=model.feature_extractor.chunk_length,
    )
    parent.send({"type": "loaded", "info": LOADED_INFO.dump_python(info, mode="json")})
    return model


def _transcribe(parent: Parent, model: "WhisperModel", job: Job, samples: FileIO) -> None:
    items, response = _items(model, job, samples), _STARTED
    while response["type"] not in _LAST:
        message, _ = parent.receive()
        response = _STOPPED if message["type"] == "stop" else next(items)
        parent.send(response)


def _items(model: "WhisperModel", job: Job, samples: FileIO) -> Iterator[Message]:
    from smelt.processor.media.recording import Recording
    from smelt.processor.speech.languages import Language
    from smelt.processor.speech.transcriber import Transcriber

    recording = Recording(Path(f"/dev/fd/{samples.fileno()}"), job.sample_count, channels=job.channels)
    transcriber = Transcriber(model, job.options)
    named = job.options.language or job.main_language
    try:
        language = transcriber.detect_language(recording) if named is None else Language(named, 1.0)
        yield {"type": "language", "language": LANGUAGE.dump_python(language, mode="json")}
        for passage in transcriber.transcribe(recording, language.code, job.start):
            yield {"type": "passage", "passage": PASSAGE.dump_python(passage, mode="json")}
    except (RuntimeError, MemoryError) as exc:  # CTranslate2, for example if it is out of memory.
        yield {"type": "error", "text": str(exc) or type(exc).__name__}
    else:
        yield {"type": "end"}


if __name__ == "__main__":
    main()
