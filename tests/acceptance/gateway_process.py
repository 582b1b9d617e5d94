"""The command `smelt serve` as a process."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.commands import environment
from tests.harness.processes import started
from tests.harness.waiting import wait_until

STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class GatewayProcess:
    """A gateway in a process of its own."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def gateway_process(env: Mapping[str, str], log: Path, port: int = 0) -> Iterator[GatewayProcess]:
    """Run `smelt serve`, by default on a free port; yield once it listens, and drain it unless it has exited."""
    command = [sys.executable, "-m", "smelt", "serve", "--port", str(port)]
    with log.open("wb") as sink, started(command, env=environment(env), stdout=sink, stderr=sink) as process:
        try:
            wait_until(lambda: "listens at" in log.read_text() or process.poll() is not None, "a gateway that listens")
            found = re.search(r"listens at (http://\S+)", log.read_text())
            assert found is not None, log.read_text()
            yield GatewayProcess(found[1], process, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_TIMEOUT_S) == 0, log.read_text()
