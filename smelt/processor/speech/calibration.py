"""Chooses the threads and the lanes of a model on this machine, by a short measurement that is kept.

More threads make one window faster, more lanes a queue of windows, of one recording or of several; which of both is
faster depends on the machine and the model. Several threads that wait for each other can even be slower than one.
"""

import asyncio
import logging
import os
import platform
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import platformdirs
from pydantic import TypeAdapter, ValidationError

from smelt.processor.children.process import Child, ChildDied
from smelt.processor.speech.demo_model_card import DEMO
from smelt.processor.speech.loaded import MODEL_MODULE, model_environment
from smelt.processor.speech.values import MEASUREMENT, MODEL_OPTIONS, Measurement, ModelOptions

logger = logging.getLogger(__name__)

MAX_LANES: Final = 4
"""A calibration tries up to this number of lanes: each costs memory, and one more smelt that is claimed ahead."""
TIMEOUT_S: Final = 60.0
# Whisper gains nothing from more.
_MAX_THREADS: Final = 8
# A queue is faster with more lanes, but a recording of one window may take only so much longer than it could.
_MAX_DELAY: Final = 1.25
# Less is not worth the memory of more lanes.
_MIN_GAIN: Final = 1.1
_SAVED: Final = TypeAdapter(dict[str, Measurement])


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The threads and lanes that are set, None to measure them, and the limit of lanes; `path` keeps the choices."""

    cpu_threads: int | None = None
    lanes: int | None = None
    max_lanes: int = MAX_LANES
    path: Path | None = None

    def known(self, model: ModelOptions) -> ModelOptions | None:
        """Return a model with its threads and lanes; None if they have to be measured."""
        fitting = self.candidates(model)
        if len(fitting) == 1:
            return fitting[0]
        with suppress(OSError, ValidationError):
            found = _SAVED.validate_json(self._file.read_bytes()).get(self._key(model))
            return None if found is None else found.applied_to(model)
        return None

    def candidates(self, model: ModelOptions) -> list[ModelOptions]:
        """Return a model with all threads and lanes to choose from; the demo model is not worth a measurement."""
        if model.name == DEMO:
            return [replace(model, cpu_threads=self.cpu_threads or 0, lanes=self.lanes or 1)]
        cpus = cpu_count()
        max_lanes = max(1, min(self.max_lanes, cpus // (self.cpu_threads or 1)))
        counts = [lanes for lanes in (1, 2, 4) if lanes <= max_lanes] if self.lanes is None else [self.lanes]
        return [
            replace(model, cpu_threads=self.cpu_threads or max(1, min(cpus // lanes, _MAX_THREADS)), lanes=lanes)
            for lanes in counts
        ]

    async def measure(self, model: ModelOptions) -> ModelOptions:
        """Measure for at most `TIMEOUT_S` and keep the choice; return the model as it is if that fails."""
        measured = await _measured(self.candidates(model))
        chosen = best(measured)
        if chosen is None:
            logger.warning("the threads for the model could not be measured: set SMELT_CPU_THREADS, SMELT_MODEL_LANES")
            return model
        logger.info("the model is used with %s", chosen)
        await asyncio.to_thread(self._save, model, chosen)
        return chosen.applied_to(model)

    def _save(self, model: ModelOptions, chosen: Measurement) -> None:
        saved: dict[str, Measurement] = {}
        with suppress(OSError, ValidationError):
            saved = _SAVED.validate_json(self._file.read_bytes())
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("wb", dir=self._file.parent, delete=False) as file:
                file.write(_SAVED.dump_json(saved | {self._key(model): chosen}, indent=1))
            os.replace(file.name, self._file)
        except OSError as exc:
            logger.info("the choice is not kept: %s", exc)

    @property
    def _file(self) -> Path:
        return self.path or platformdirs.user_cache_path("smelt") / "calibration.json"

    def _key(self, model: ModelOptions) -> str:
        """Return what the choice depends on: machine, model, its library, and what is set."""
        weights = Path(model.name) / "model.bin"
        with suppress(OSError):
            found = weights.stat()
            return self._joined(model, str(weights.resolve()), found.st_size, found.st_mtime_ns)
        return self._joined(model, model.name)

    def _joined(self, model: ModelOptions, *identity: object) -> str:
        release = version("ctranslate2")
        parts = (_cpu_name(), cpu_count(), *identity, model.compute_type, release, self.cpu_threads, self.max_lanes)
        return " ".join(map(str, parts))


def best(measured: Sequence[Measurement]) -> Measurement | None:
    """Return the measurement with most windows per second, of those that are nearly the quickest for one window."""
    quickest_s = min((one.one_s for one in measured), default=0.0)
    chosen: Measurement | None = None
    for one in sorted(measured, key=lambda one: one.lanes):
        is_quick = one.one_s <= _MAX_DELAY * quickest_s
        if is_quick and (chosen is None or one.windows_per_s > _MIN_GAIN * chosen.windows_per_s):
            chosen = one
    return chosen


def cpu_count() -> int:
    """Return the number of processors that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):  # Without a limit, the first value is `max`.
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        count = min(count, max(1, quota // period))
    return count


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


async def _measured(candidates: Sequence[ModelOptions]) -> list[Measurement]:
    """Measure the candidates in a child; those that take too long are missing."""
    measured: list[Measurement] = []
    child: Child | None = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            child = await Child.start(MODEL_MODULE, environment=model_environment())
            await child.send({"type": "measure", "models": [MODEL_OPTIONS.dump_python(one) for one in candidates]})
            while (message := await child.receive(TIMEOUT_S)).get("type") == "measured":
                measured.append(MEASUREMENT.validate_python(message.get("measurement")))
    except (ChildDied, ValidationError, OSError) as exc:
        logger.info("measuring threads for the model: %s", exc or "it takes too long")
    finally:
        if child is not None:
            await child.end()
    return measured
