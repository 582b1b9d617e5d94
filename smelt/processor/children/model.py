"""The model child: `python -m smelt.processor.children.model PID` loads a model and transcribes recordings with it.

Each message of the worker, with its response:

    {"type": "measure", "models"}                 {"type": "measured", "measurement": Measurement} each, and it ends
    {"type": "load", "model": ModelOptions}       {"type": "loaded", "info": LoadedInfo}, or {"type": "failed", "text"}
    {"type": "transcribe", "lane", "job": Job} and a file with the samples: no response
    {"type": "next", "lane"}                      first {"type": "language", "language": Language}, then
                                                  {"type": "passage", "passage": Passage} for each, {"type": "end"};
                                                  or {"type": "error", "text"} if the model fails
    {"type": "stop", "lane"}                      no response; ends a transcription early

A lane is one transcription, with a number that the worker selects and all responses contain. Several lanes transcribe
at a time, each in a thread. A passage is computed when it is requested, so that nothing piles up if the worker is slow,
and a transcription that is stopped computes no further window. Memory has no limit here, because CUDA reserves address
space.
"""

import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, NoReturn

from smelt.errors import SettingsError
from smelt.processor.children.frames import READY, Message
from smelt.processor.children.inside import Parent, connect, leave
from smelt.processor.speech.values import (
    JOB,
    LANGUAGE,
    LOADED_INFO,
    MEASUREMENT,
    MODEL_OPTIONS,
    PASSAGE,
    Job,
    LoadedInfo,
    ModelOptions,
)

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_LAST: Final = frozenset({"end", "error"})


def main() -> None:
    """Load the model of the first message, then transcribe until the worker ends this process."""
    parent = connect()
    # Imported after `connect`, so that this process ends with its worker from the start.
    import_module("smelt.processor.speech.model")
    _write_logs()
    parent.send(READY)
    message, _ = parent.receive()
    if message["type"] == "measure":
        _measure(parent, [MODEL_OPTIONS.validate_python(model) for model in message["models"]])
    lanes = _Lanes(parent, _load(parent, MODEL_OPTIONS.validate_python(message["model"])))
    # Imported after the load: the worker claims the first recording meanwhile.
    import_module("smelt.processor.speech.transcriber")
    import_module("onnxruntime")
    while True:
        lanes.on_message(*parent.receive())


class _Lanes:
    """The transcriptions that are in progress, each in a thread."""

    def __init__(self, parent: Parent, model: "WhisperModel") -> None:
        self._parent = parent
        self._model = model
        self._requests: dict[int, SimpleQueue[str]] = {}
        self._sending = Lock()
        # An error in a thread ends this process, like one in the main thread.
        threading.excepthook = _leave_after

    def on_message(self, message: Message, descriptors: Sequence[int]) -> None:
        """Begin a transcription, or pass a request on to its thread."""
        lane = message["lane"]
        if message["type"] == "transcribe":
            self._requests[lane] = SimpleQueue()
            arguments = (lane, JOB.validate_python(message["job"]), descriptors[0])
            Thread(target=self._transcribe, args=arguments, daemon=True).start()
        elif (requests := self._requests.get(lane)) is not None:  # Otherwise, it has ended by itself.
            requests.put(message["type"])

    def _transcribe(self, lane: int, job: Job, descriptor: int) -> None:
        with FileIO(descriptor) as samples:
            items = _items(self._model, job, samples)
            while self._requests[lane].get() == "next":
                response = next(items)
                with self._sending:
                    self._parent.send({**response, "lane": lane})
                if response["type"] in _LAST:
                    break
        del self._requests[lane]


def _write_logs() -> None:
    """Write warnings to the output, which becomes a part of the worker's log."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(capture=True)
    # This import installs a handler, which would write each line of the model hub a second time.
    import_module("huggingface_hub.utils.logging")
    logging.getLogger("huggingface_hub").handlers.clear()


def _measure(parent: Parent, models: Sequence[ModelOptions]) -> NoReturn:
    from smelt.processor.speech.timing import timed

    for measurement in timed(models):
        parent.send({"type": "measured", "measurement": MEASUREMENT.dump_python(measurement)})
    parent.send({"type": "end"})
    leave()


def _load(parent: Parent, options: ModelOptions) -> "WhisperModel":
    from smelt.processor.speech.model import known_languages, load_model, names_of, smaller_compute_type

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
        cpu_threads=options.cpu_threads,
        lanes=options.lanes,
    )
    parent.send({"type": "loaded", "info": LOADED_INFO.dump_python(info, mode="json")})
    return model


def _leave_after(error: threading.ExceptHookArgs) -> NoReturn:
    threading.__excepthook__(error)
    leave(1)


def _items(model: "WhisperModel", job: Job, samples: FileIO) -> Iterator[Message]:
    from smelt.processor.media.recording import Recording
    from smelt.processor.speech.languages import Language
    from smelt.processor.speech.transcriber import Transcriber

    recording = Recording(Path(f"/dev/fd/{samples.fileno()}"), job.sample_count, channels=job.channels)
    transcriber = Transcriber(model, job.options, is_alone=job.is_alone)
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
