"""The child that makes one extractive output; `python -m` starts it, `Extractor` talks to it.

It receives the source and the request as a text, and responds with the output as a text. The source comes from users,
so the processing of this one has hard limits; at one of them the process ends.
"""

from importlib import import_module
from typing import Final

from smelt.processor.children.frames import READY
from smelt.processor.children.inside import connect, leave, limit_files, limit_memory, limit_processor_s, processor_s
from smelt.processor.children.texts import Text, messages_of
from smelt.processor.synthesis.request import EXTRACTION

_LIBRARY: Final = "smelt.processor.synthesis.extractive"
# The transcript of ten hours takes 300 MiB and 5 s.
_MORE_MEMORY_BYTES: Final = 1024**3
_PROCESSOR_S: Final = 120
_OPEN_FILES: Final = 32


def main() -> None:
    """Make one output."""
    parent = connect()
    import_module(_LIBRARY)
    parent.send(READY)
    limit_memory(_MORE_MEMORY_BYTES)
    limit_files(max_bytes=0, max_open=_OPEN_FILES)
    received = Text()
    while not received.is_complete:
        received.add(parent.receive()[0])
    # From here on: a child that is started ahead may wait for hours.
    used_s = round(processor_s())
    limit_processor_s(used_s + _PROCESSOR_S, used_s + 2 * _PROCESSOR_S)
    from smelt.processor.synthesis.extractive import render

    for message in messages_of(render(*EXTRACTION.validate_json(received.text))):
        parent.send(message)
    leave()


if __name__ == "__main__":
    main()
