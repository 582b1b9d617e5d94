"""Probes and decodes one file in a process of its own; prints the outcome and the growth of memory."""

import json
import resource
import sys
import tempfile
from pathlib import Path

from smelt.processor.errors import FileError
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from tests.unit.processor.audio_samples import LIMITS

# A bug that allocates gigabytes must not exhaust the memory of the machine.
ADDRESS_SPACE_BYTES = 4 * 1024**3


def peak_bytes() -> int:
    """Return the peak memory of this process since its start."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage includes the memory of the parent before the exec.
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def outcome(source: Path, target: Path) -> str:
    """Return the error code, or `decoded`."""
    try:
        decode_to_pcm(source, target, probe(source, LIMITS), LIMITS, lambda _: None)
    except FileError as error:
        return error.code
    return "decoded"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        result = outcome(Path(sys.argv[1]), Path(folder) / "pcm")
    print(json.dumps({"outcome": result, "growth_bytes": peak_bytes() - before}))
