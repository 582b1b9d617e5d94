"""The training: from random weights to a network, in numbered steps that a killed run goes on from."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from bank import Bank
from batches import Batch, Batches, Lesson
from crew import Crew
from network import Shape, Whisper
from progress import Progress
from student import Student, gradient
from tokens import Vocabulary
from torch import Tensor, nn
from torch.utils.data import DataLoader
from weights import take_up

Compute = Callable[..., tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Cycle:
    """Up to step `end`: warm up, hold the learning rate for a share of the steps, then half a cosine down."""

    end: int
    learning_rate: float
    hold: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out; learning rates and guidance follow the step, never the clock."""

    cycles: tuple[Cycle, ...]
    lessons: tuple[tuple[int, Lesson], ...]
    """What is taught, each from a first step on."""
    guided_steps: int
    """How long phonemes and attention are taught with weight; afterwards they are only kept in mind."""
    warm_up: int
    seed: int = 1
    utterances: int = 50_000
    last_learning_rate: float = 2e-5
    weight_decay: float = 0.01
    dropout: float = 0.05
    checkpoint_every: int = 100

    @property
    def steps(self) -> int:
        return self.cycles[-1].end

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
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
        """The weights of the phoneme and of the attention loss."""
        return (0.5, 0.3) if step < self.guided_steps else (0.2, 0.2)


RECORDINGS = Lesson(batch_size=16, length_s=10.0, prompted_share=0.1)
FROM_NOTHING = Recipe(
    cycles=(Cycle(6_000, 1.5e-3, hold=0.5),),
    lessons=(
        (0, Lesson(batch_size=40, length_s=5.0, first_steps=True)),
        (800, Lesson(batch_size=36, length_s=6.0)),
        (1_100, RECORDINGS),
    ),
    guided_steps=3_000,
    warm_up=150,
)
FROM_WEIGHTS = Recipe(
    cycles=(Cycle(1_100, 8e-4, hold=0.25), Cycle(1_450, 4e-4)),
    lessons=((0, RECORDINGS),),
    guided_steps=550,
    warm_up=40,
)
"""For a model that is taken up: a wider grammar, the same speech."""


class Training:
    """A student, its optimizer and its step; saved and restored as one."""

    def __init__(
        self, recipe: Recipe, vocabulary: Vocabulary, bank: Bank, folder: Path, start: Path | None = None
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.step = recipe, folder, 0
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.student = Student(Shape(vocabulary.size), bank.phoneme_count).to(self._device)
        if start is not None:
            take_up(self.student.whisper, vocabulary, start)
        self.optimizer = _optimizer(self.student, recipe)
        self._batches = Batches(bank, vocabulary, dict(recipe.lessons), recipe.seed)
        self._checkpoint = folder / "checkpoint.pt"
        if self._checkpoint.exists():
            self._restore()

    def run(self) -> Whisper:
        """Train to the last step of the recipe."""
        numbers = range(self.step, self.recipe.steps)
        if self._device.type == "cuda":
            # Batches come from all cores; the gradient is computed where the weights are.
            self._learn_all(numbers, partial(gradient, self.student), os.cpu_count() or 1)
        elif numbers:
            # The crew has the cores; what is left to do here is not worth a second thread.
            torch.set_num_threads(1)
            with Crew(self.student, os.cpu_count() or 1) as crew:
                self._learn_all(numbers, crew.gradient, 1)
        return self.student.whisper.cpu().eval()

    def _learn_all(self, numbers: range, compute: Compute, suppliers: int) -> None:
        loader = DataLoader(self._batches, batch_size=None, sampler=numbers, num_workers=suppliers, prefetch_factor=6)
        self.student.train()
        with Progress("training", self.recipe.steps, self.step) as progress:
            for batch in loader:
                losses = self._learn(batch.to(self._device), compute)
                self.step += 1
                progress.advance(", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
                if self.step % 50 == 0:
                    self._log(losses)
                if self.step % self.recipe.checkpoint_every == 0 or self.step == self.recipe.steps:
                    self._save()

    def _learn(self, batch: Batch, compute: Compute) -> dict[str, float]:
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
