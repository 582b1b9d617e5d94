"""Processes that share the work of a step, so that no core waits for another until all parts are done.

Two threads that work on each operation together come to a standstill whenever one of their cores is taken; processes
that each take the next part of a batch do not. The parts are added up in their own order, whoever computed them: the
result does not depend on who was faster.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from batches import IGNORED, Batch
from student import Student, gradient
from torch import Tensor, multiprocessing

PARTS = 4


@dataclass(frozen=True)
class _Task:
    place: int
    part: Batch
    options: dict[str, Any]


class Crew:
    """One process a core; the weights of the student are shared by all."""

    def __init__(self, student: Student, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks, self._done = context.SimpleQueue(), context.SimpleQueue()
        self._gradients = torch.zeros(PARTS, sum(weights.numel() for weights in student.trained())).share_memory_()
        arguments = (student.share_memory(), self._gradients, self._tasks, self._done)
        self._processes = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(size)]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()

    def gradient(
        self, batch: Batch, *, seed: int, dropout: float, guidance: tuple[float, float]
    ) -> tuple[Tensor, dict[str, float]]:
        """The gradient of a batch as one vector, and its losses."""
        parts = batch.split(PARTS)
        for place, part in enumerate(parts):
            options = {"seed": seed * PARTS + place, "dropout": dropout, "guidance": guidance}
            self._tasks.put(_Task(place, part, options))
        found = dict(self._done.get() for _ in parts)
        # A part counts by the tokens that are asked of it, as if the batch had been one.
        asked = torch.tensor([float((part.wanted != IGNORED).sum()) for part in parts])
        shares = asked / asked.sum()
        names = found[0]
        losses = {name: sum(float(shares[place]) * found[place][name] for place in found) for name in names}
        return shares @ self._gradients[: len(parts)], losses


def _work(student: Student, gradients: Tensor, tasks: Any, done: Any) -> None:
    torch.set_num_threads(1)
    student.train()
    while True:
        task = tasks.get()
        gradients[task.place], losses = gradient(student, task.part, **task.options)
        done.put((task.place, losses))
