"""A pool of processes that compute the gradient of a batch in parts, one process per core.

Threads that share each operation stall whenever another program uses one of their cores; processes that each take the
next part of a batch do not. The parts are added in a fixed order, so that the result does not depend on timing.
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
class _Part:
    place: int
    part: Batch
    options: dict[str, Any]


class GradientPool:
    """The processes, which share the weights of the student."""

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
        """Return the gradient of a batch as one vector, and its losses."""
        parts = batch.split(PARTS)
        for place, part in enumerate(parts):
            options = {"seed": seed * PARTS + place, "dropout": dropout, "guidance": guidance}
            self._tasks.put(_Part(place, part, options))
        found = dict(self._done.get() for _ in parts)
        # Weight each part by the number of its expected tokens, as if the batch had not been split.
        token_counts = torch.tensor([float((part.expected != IGNORED).sum()) for part in parts])
        shares = token_counts / token_counts.sum()
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
