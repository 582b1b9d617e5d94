"""Probe and decode one file in a process of its own; print what came of it and by how much memory grew."""

import json
import resource
import sys
import tempfile
from pathlib import Path

from audio_samples import LIMITS

from smelt.processor.errors import FileError
from smelt.processor.media.decode import decode
from smelt.processor.media.probe import probe

# A fault that takes gigabytes shall not take the machine that runs the test.
ADDRESS_SPACE_BYTES = 4 * 1024**3


def peak_bytes() -> int:
    """Return the most memory that this process has had, since it was started."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had before the exec.
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def outcome(source: Path, target: Path) -> str:
    """Return the code of the fault, or `decoded`."""
    try:
        decode(source, target, probe(source, LIMITS), LIMITS, lambda _: True)
    except FileError as fault:
        return fault.code
    return "decoded"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        result = outcome(Path(sys.argv[1]), Path(folder) / "pcm")
    print(json.dumps({"outcome": result, "growth_bytes": peak_bytes() - before}))
