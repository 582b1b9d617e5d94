"""The workers of a run as processes, each of which is started again when it exits."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from smelt.cli.output import Exit
from tests.harness.background import in_background
from tests.harness.processes import processes_with_home
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import WorkerProcess

MODEL_WORKERS: Final = ("one", "two", "three")
# Two, since a smelt whose worker stopped is left to other hosts for a minute.
DISPATCHING_WORKERS: Final = ("four", "five")
# A worker that drains gives its smelts back after this time.
DRAIN_S: Final = 10
RESTART_INTERVAL_S: Final = 0.2
EXIT_TIMEOUT_S: Final = 60.0
LEFTOVERS: Final = "smelt-worker-*"


class Workers:
    """Running workers by name, each on a host of its own."""

    def __init__(self, stack: Stack, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self._stack = stack
        self._settings = settings
        self._own_settings: dict[str, Mapping[str, str]] = {}
        self._running: dict[str, WorkerProcess] = {}
        self._exit_codes: Counter[int] = Counter()
        self._is_draining = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all workers."""
        return tuple(self._running)

    def folder(self, name: str) -> Path:
        """Return the folder of a worker, for its temporary files and logs."""
        return self.home / name

    def start(self, name: str, **settings: str) -> None:
        """Start a worker; it has these settings after each restart as well."""
        self.folder(name).mkdir(exist_ok=True)
        self._own_settings[name] = settings
        self._start(name)

    def process(self, name: str) -> psutil.Process | None:
        """Return the process of a worker, None if it has exited."""
        worker = self._running[name].process
        return psutil.Process(worker.pid) if worker.poll() is None else None

    def children(self, name: str, kind: str) -> list[psutil.Process]:
        """Return the children of this kind of a worker."""
        found = []
        with suppress(psutil.NoSuchProcess):
            worker = self.process(name)
            for child in [] if worker is None else worker.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if f"smelt.processor.children.{kind}" in child.cmdline():
                        found.append(child)
        return found

    async def keep_running(self) -> None:
        """Start each worker again that has exited, until the workers are drained."""
        while not self._is_draining:
            for name, worker in list(self._running.items()):
                if worker.process.poll() is not None:
                    self._exit_codes[worker.process.returncode] += 1
                    worker.close()
                    self._start(name)
            await asyncio.sleep(RESTART_INTERVAL_S)

    async def drain(self) -> None:
        """End all workers; assert that none has exited by itself, and that they leave no process and no folder."""
        self._is_draining = True
        for worker in self._running.values():
            worker.end(signal.SIGTERM)
        for worker in self._running.values():
            self._exit_codes[await worker.exit_code(EXIT_TIMEOUT_S)] += 1
        # One that has not yet begun to work ends at once, as does one that is terminated while it drains. The project
        # may not respond meanwhile.
        expected = {0, Exit.INTERRUPTED, Exit.UNREACHABLE, -signal.SIGKILL, -signal.SIGTERM}
        assert set(self._exit_codes) <= expected, self._exit_codes
        await until(lambda: not processes_with_home(self.home), timeout_s=EXIT_TIMEOUT_S)
        assert not list(self.home.parent.rglob(LEFTOVERS))

    def close(self) -> None:
        """Kill the workers that still run."""
        for worker in self._running.values():
            worker.close()

    def _start(self, name: str) -> None:
        # Its children inherit the home, by which they are found even if it has ended.
        own = {"HOME": str(self.home), "SMELT_HOST": name, **self._settings, **self._own_settings[name]}
        self._running[name] = WorkerProcess(self._stack, self.folder(name), **own)


@asynccontextmanager
async def running_workers(stack: Stack, home: Path, lease_s: int, disk: Path | None) -> AsyncIterator[Workers]:
    """Run the workers with a model; the last one has its temporary files on `disk`, if there is one."""
    settings = {
        "SMELT_LEASE_S": str(lease_s),
        "SMELT_DRAIN_S": str(DRAIN_S),
        "SMELT_WEBHOOK_ALLOW_PRIVATE": "true",
    }
    workers = Workers(stack, home, settings)
    try:
        for name in MODEL_WORKERS:
            on_disk = {} if disk is None or name != MODEL_WORKERS[-1] else {"SMELT_TEMP_DIR": str(disk)}
            workers.start(name, **on_disk)
        async with in_background(workers.keep_running()):
            yield workers
    finally:
        workers.close()
