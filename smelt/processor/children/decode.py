"""The child that probes and decodes files; `python -m` starts it, `decoders` talks to it.

It receives requests, each complete in itself, with the file and, to decode, the target as descriptors:

    {"type": "probe", "name", "limits"} + source           -> probed
    {"type": "decode", "name", "limits", "probe", "is_separate"} + both   -> progress ... decoded
    {"type": "done"}                                       -> ready; the next request has another file

and responds to any with `rejected` (a `FileError`), `limit` (it has exceeded one of its own), `system_error` (for
example a full disk) or `error` instead. While native code reads the file, no other can be opened.

Each file is processed in a copy of this process with hard limits, which saves the time of the imports; this process
dies as its copy does. A copy is safe because this process has one thread. The libraries of macOS start others, so there
it processes one file itself.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from errno import EFBIG
from functools import partial
from importlib import import_module
from typing import Any, Final, NoReturn

from smelt.processor.children.frames import READY, Message
from smelt.processor.children.inside import (
    Parent,
    connect,
    end_like,
    leave,
    limit_files,
    limit_memory,
    limit_processor_s,
    no_more_files,
    processor_s,
    run_in_copy,
)
from smelt.processor.errors import FileError
from smelt.processor.media.headers import Layout
from smelt.processor.media.source import DescriptorSource
from smelt.processor.media.values import BYTES_PER_SECOND, MAX_SEPARATE_CHANNELS, MediaLimits, Probe

# While a file is read, nothing can be imported.
_LIBRARIES: Final = (
    "smelt.processor.media.decode",
    "smelt.processor.media.probe",
    "av.subtitles.codeccontext",
    "av.subtitles.stream",
)
# A packet takes up to 8.3 times its size, with its frame and the samples made of it: 255 MiB for 10 s of stereo at
# 384 kHz and 32 bits. A small file has no such packet, and takes much memory only if it was made for that.
_MAX_MEMORY_BYTES: Final = 320 * 1024 * 1024
_MIN_MEMORY_BYTES: Final = 80 * 1024 * 1024
_MEMORY_PER_BYTE: Final = 9
_OPEN_FILES: Final = 32
# Seconds of the processor: probing reads headers, and at most the packets. Decoding takes less than real time.
_PROBE_PROCESSOR_S: Final = 10
_DECODE_PROCESSOR_S: Final = 60
_MIN_SHARE_STEP: Final = 0.01
# A file that proceeds is not silent for longer.
_PROGRESS_INTERVAL_S: Final = 1.0
_MAX_DETAIL_CHARACTERS: Final = 500


def main() -> None:
    """Serve the requests of a worker."""
    parent = connect()
    for library in _LIBRARIES:
        import_module(library)
    from smelt.processor.media.probe import limit_allocations

    limit_allocations()
    while True:
        parent.send(READY)
        parent.wait()
        if sys.platform != "linux":
            _process_file(parent)
        if returncode := run_in_copy(partial(_process_file, parent)):
            end_like(returncode)


def _process_file(parent: Parent) -> NoReturn:
    while True:
        request, descriptors = parent.receive()
        if request["type"] == "done":
            leave()
        parent.send(_response(request, descriptors, parent))


def _response(request: dict[str, Any], descriptors: list[int], parent: Parent) -> Message:
    limits = MediaLimits(**request["limits"])
    _limit(request, limits)
    memory_bytes = _memory_bytes(os.fstat(descriptors[0]).st_size)
    limit_memory(memory_bytes)
    try:
        with ExitStack() as closing:
            for descriptor in descriptors:
                closing.callback(os.close, descriptor)
            closing.enter_context(no_more_files())
            return _processed(request, limits, descriptors, parent)
    except FileError as exc:
        detail = exc.detail[:_MAX_DETAIL_CHARACTERS]
        return {"type": "rejected", "code": exc.code, "detail": detail, "sentence": exc.sentence}
    except MemoryError:
        return {"type": "limit", "detail": f"more than {memory_bytes >> 20} MiB of memory"}
    except OSError as exc:
        if exc.errno == EFBIG:
            return {"type": "limit", "detail": "more output than the maximum duration"}
        return {"type": "system_error", "errno": exc.errno or 0}
    except Exception as exc:  # noqa: BLE001 - The worker logs it and fails the attempt, not the file.
        traceback.print_exc()
        return {"type": "error", "detail": repr(exc)[:_MAX_DETAIL_CHARACTERS]}


def _memory_bytes(file_bytes: int) -> int:
    return min(_MAX_MEMORY_BYTES, _MIN_MEMORY_BYTES + _MEMORY_PER_BYTE * file_bytes)


def _limit(request: dict[str, Any], limits: MediaLimits) -> None:
    kind, max_duration_s = request["type"], int(limits.max_duration_s)
    # A probe writes nothing, and its limit can't be raised for the decoding in the same process.
    is_one_channel = kind == "decode" and not request["is_separate"]
    channels = 1 if is_one_channel else MAX_SEPARATE_CHANNELS
    # More than `decode` accepts.
    limit_files(max_bytes=(max_duration_s + 2) * BYTES_PER_SECOND * channels, max_open=_OPEN_FILES)
    decode_s = _DECODE_PROCESSOR_S + max_duration_s
    limit_processor_s(
        round(processor_s()) + (_PROBE_PROCESSOR_S if kind == "probe" else decode_s),
        hard_s=2 * _PROBE_PROCESSOR_S + decode_s,
    )


def _processed(request: dict[str, Any], limits: MediaLimits, descriptors: list[int], parent: Parent) -> Message:
    from smelt.processor.media.decode import decode
    from smelt.processor.media.probe import probe

    source = DescriptorSource(descriptors[0], request["name"])
    if request["type"] == "probe":
        return {"type": "probed", "probe": asdict(probe(source, limits))}
    probed, is_separate = _probe_of(request["probe"]), request["is_separate"]
    with os.fdopen(descriptors[1], "wb", closefd=False) as sink:
        decoded = decode(source, sink, probed, limits, _throttled(parent), is_separate=is_separate)
    return {"type": "decoded", "decoded": asdict(decoded)}


def _probe_of(sent: dict[str, Any]) -> Probe:
    layout = sent["layout"]
    return Probe(**sent | {"layout": Layout(**layout | {"part_starts": tuple(layout["part_starts"])})})


def _throttled(parent: Parent) -> Callable[[float], None]:
    reported_share, reported_s = 0.0, time.monotonic()

    def on_decoded(share: float) -> None:
        nonlocal reported_share, reported_s
        if share < reported_share + _MIN_SHARE_STEP and time.monotonic() < reported_s + _PROGRESS_INTERVAL_S:
            return
        reported_share, reported_s = share, time.monotonic()
        parent.send({"type": "progress", "share": share})

    return on_decoded


if __name__ == "__main__":
    main()
