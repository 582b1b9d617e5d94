"""The child that makes extractive outputs; `python -m` starts it, `Extractor` talks to it.

It receives the source and the request as a text, and responds with each output as a text. The source comes from users,
so the outputs of each are made in a process of its own with hard limits, at one of which that process ends. It is a
copy of this one, which saves the time of the imports; the response to its end is {"type": "died", "returncode"}. A copy
is safe because this process has one thread; the libraries of macOS start others, so there it makes them itself.
"""

import sys
from functools import partial
from importlib import import_module
from typing import Final, NoReturn

from smelt.processor.children.frames import READY
from smelt.processor.children.inside import (
    Parent,
    connect,
    leave,
    limit_files,
    limit_memory,
    limit_processor_s,
    processor_s,
    run_in_copy,
)
from smelt.processor.children.texts import Text, messages_of
from smelt.processor.synthesis.request import EXTRACTION

_LIBRARY: Final = "smelt.processor.synthesis.extractive"
# The transcript of ten hours takes 50 MiB and 5 s.
_MEMORY_BYTES: Final = 2 * 1024**3
_PROCESSOR_S: Final = 120
_OPEN_FILES: Final = 32


def main() -> None:
    """Make outputs."""
    parent = connect()
    import_module(_LIBRARY)
    parent.send(READY)
    while True:
        received = Text()
        while not received.is_complete:
            received.add(parent.receive()[0])
        if sys.platform != "linux":
            _make_outputs(parent, received.text)
        if returncode := run_in_copy(partial(_make_outputs, parent, received.text)):
            parent.send({"type": "died", "returncode": returncode})


def _make_outputs(parent: Parent, text: str) -> NoReturn:
    from smelt.processor.synthesis.extractive import outputs

    limit_memory(_MEMORY_BYTES)
    limit_files(max_bytes=0, max_open=_OPEN_FILES)
    used_s = round(processor_s())
    limit_processor_s(used_s + _PROCESSOR_S, used_s + 2 * _PROCESSOR_S)
    for output in outputs(*EXTRACTION.validate_json(text)):
        for message in messages_of(output):
            parent.send(message)
    leave()


if __name__ == "__main__":
    main()
