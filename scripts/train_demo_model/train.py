"""The training: numbered steps with checkpoints, from which a killed run resumes."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from bank import Bank
from batches import Batch, Batches, BatchOptions
from gradient_pool import GradientPool
from network import Shape, Whisper
from progress import Progress
from student import Student, gradient
from tokens import Vocabulary
from torch import Tensor, nn
from torch.utils.data import DataLoader
from weights import load_weights

Compute = Callable[..., tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Cycle:
    """A learning rate cycle up to step `end`: warm up, hold for a share of the steps, then decay by half a cosine."""

    end: int
    learning_rate: float
    hold: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """All parameters of a training; learning rates and guidance depend on the step, never on the clock."""

    cycles: tuple[Cycle, ...]
    batch_options: tuple[tuple[int, BatchOptions], ...]
    """The batch options, each with its first step."""
    guided_steps: int
    """The number of steps with high weights for the phoneme and attention losses."""
    warm_up: int
    seed: int = 1
    utterances: int = 50_000
    last_learning_rate: float = 2e-5
    weight_decay: float = 0.01
    dropout: float = 0.05
    checkpoint_steps: int = 100

    @property
    def steps(self) -> int:
        return self.cycles[-1].end

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        begin, cycle = 0, self.cycles[0]
        for following in self.cycles[1:]:
            if step >= cycle.end:
                begin, cycle = cycle.end, following
        warm = cycle.learning_rate * min(1.0, (step - begin + 1) / self.warm_up)
        down_from = begin + cycle.hold * (cycle.end - begin)
        if step < down_from:
            return warm
        share = (step - down_from) / (cycle.end - down_from)
        return self.last_learning_rate + (warm - self.last_learning_rate) * 0.5 * (1 + math.cos(math.pi * share))

    def guidance_at(self, step: int) -> tuple[float, float]:
        """Return the weights of the phoneme loss and of the attention loss."""
        return (0.5, 0.3) if step < self.guided_steps else (0.2, 0.2)


FULL_BATCHES = BatchOptions(batch_size=16, length_s=10.0, prompted_share=0.1)
FROM_SCRATCH = Recipe(
    cycles=(Cycle(6_000, 1.5e-3, hold=0.5),),
    batch_options=(
        (0, BatchOptions(batch_size=40, length_s=5.0, first_steps=True)),
        (800, BatchOptions(batch_size=36, length_s=6.0)),
        (1_100, FULL_BATCHES),
    ),
    guided_steps=3_000,
    warm_up=150,
)
FROM_WEIGHTS = Recipe(
    cycles=(Cycle(1_100, 8e-4, hold=0.25), Cycle(1_450, 4e-4)),
    batch_options=((0, FULL_BATCHES),),
    guided_steps=550,
    warm_up=40,
)
"""For a start from existing weights: a wider grammar, the same speech."""


class Training:
    """A student with its optimizer and step, which are saved and restored together."""

    def __init__(
        self, recipe: Recipe, vocabulary: Vocabulary, bank: Bank, folder: Path, start: Path | None = None
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.step = recipe, folder, 0
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.student = Student(Shape(vocabulary.size), bank.phoneme_count).to(self._device)
        if start is not None:
            load_weights(self.student.whisper, vocabulary, start)
        self.optimizer = _optimizer(self.student, recipe)
        self._batches = Batches(bank, vocabulary, dict(recipe.batch_options), recipe.seed)
        self._checkpoint = folder / "checkpoint.pt"
        if self._checkpoint.exists():
            self._restore()

    def run(self) -> Whisper:
        """Train up to the last step of the recipe; return the network."""
        numbers = range(self.step, self.recipe.steps)
        if self._device.type == "cuda":
            # All cores prepare batches; the GPU computes the gradients.
            self._train_steps(numbers, partial(gradient, self.student), os.cpu_count() or 1)
        elif numbers:
            # The pool uses all cores; the rest of the step is too little for a second thread.
            torch.set_num_threads(1)
            with GradientPool(self.student, os.cpu_count() or 1) as pool:
                self._train_steps(numbers, pool.gradient, 1)
        return self.student.whisper.cpu().eval()

    def _train_steps(self, numbers: range, compute: Compute, workers: int) -> None:
        loader = DataLoader(self._batches, batch_size=None, sampler=numbers, num_workers=workers, prefetch_factor=6)
        self.student.train()
        with Progress("training", self.recipe.steps, self.step) as progress:
            for batch in loader:
                losses = self._train_step(batch.to(self._device), compute)
                self.step += 1
                progress.advance(", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
                if self.step % 50 == 0:
                    self._log(losses)
                if self.step % self.recipe.checkpoint_steps == 0 or self.step == self.recipe.steps:
                    self._save()

    def _train_step(self, batch: Batch, compute: Compute) -> dict[str, float]:
        recipe, step = self.recipe, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        seed = recipe.seed * 1_000_003 + step
        total, losses = compute(batch, seed=seed, dropout=recipe.dropout, guidance=recipe.guidance_at(step))
        at = 0
        for weights in self.student.trained():
            weights.grad = total[at : at + weights.numel()].view_as(weights)
            at += weights.numel()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        return losses

    def _log(self, losses: dict[str, float]) -> None:
        entry = {"step": self.step, "learning_rate": self.recipe.learning_rate_at(self.step), **losses}
        with (self.folder / "training.jsonl").open("a") as log:
            log.write(json.dumps({name: round(value, 6) for name, value in entry.items()}) + "\n")

    def _save(self) -> None:
        state = {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "recipe": asdict(self.recipe),
        }
        unfinished = self._checkpoint.with_suffix(".new")
        torch.save(state, unfinished)
        unfinished.replace(self._checkpoint)

    def _restore(self) -> None:
        state = torch.load(self._checkpoint, map_location=self._device, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def _optimizer(student: Student, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in student.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in student.parameters() if p.requires_grad and p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.cycles[0].learning_rate, betas=(0.9, 0.98))
