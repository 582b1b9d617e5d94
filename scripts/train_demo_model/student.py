"""The network with the parts that only training needs: a phoneme classifier and the losses."""

import torch
from batches import IGNORED, Batch
from network import Shape, Whisper
from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-5


class Student(nn.Module):
    """A Whisper that also predicts the phoneme of each encoder position."""

    def __init__(self, shape: Shape, phoneme_count: int) -> None:
        super().__init__()
        self.whisper = Whisper(shape)
        self.phonemes = nn.Linear(shape.width, phoneme_count)

    def losses(self, batch: Batch, dropout: float) -> dict[str, Tensor]:
        """Return the cross-entropy of tokens and phonemes, the attention loss of the guided heads, and the accuracy."""
        encoded, bias = self.whisper.encoder(batch.mel, dropout)
        states, attended = self.whisper.decoder(batch.ids, encoded, bias, batch.rows, dropout)
        has_target = batch.expected != IGNORED
        logits = self.whisper.logits(states[has_target]).float()
        guesses = self.phonemes(encoded[:, : batch.phonemes.shape[1]]).float()
        return {
            "tokens": functional.cross_entropy(logits, batch.expected[has_target]),
            "phonemes": functional.cross_entropy(guesses.flatten(0, 1), batch.phonemes.flatten()),
            # The first layer attends to the current token, the last one evenly to the whole next token.
            "attention": _stray(attended[0], batch.current_spans) + _uneven(attended[-1], batch.next_spans),
            "accuracy": (logits.argmax(-1) == batch.expected[has_target]).float().mean(),
        }

    def trained(self) -> list[nn.Parameter]:
        """Return all trainable weights."""
        return [weights for weights in self.parameters() if weights.requires_grad]


def _stray(weights: Tensor, where: Tensor) -> Tensor:
    """Return the loss for attention outside the token; 0 if there is none."""
    inside = (weights.float() * where[:, None]).sum(-1)
    return _mean(-(inside + _EPSILON).log(), where)


def _uneven(weights: Tensor, where: Tensor) -> Tensor:
    """Return the divergence from attention that is uniform over the token.

    Word times are derived from this attention: a position that no token attends to could be assigned to any of them.
    """
    moments = where.sum(-1)[:, None].clamp(min=1)
    surprise = -((weights.float() + _EPSILON).log() * where[:, None]).sum(-1) / moments
    return _mean(surprise - moments.log(), where)


def _mean(losses: Tensor, where: Tensor) -> Tensor:
    rows = where.any(-1)[:, None].expand_as(losses)
    # A part of a batch may contain no speech.
    return losses[rows].sum() / rows.sum().clamp(min=1)


def gradient(
    student: Student, batch: Batch, *, seed: int, dropout: float, guidance: tuple[float, float]
) -> tuple[Tensor, dict[str, float]]:
    """Return the gradient of a batch as one vector, and its losses; `guidance` weights phonemes and attention."""
    # Dropout depends on the seed alone, so that a resumed run computes the same as an unbroken one.
    torch.manual_seed(seed)
    with torch.autocast(batch.mel.device.type, torch.bfloat16):
        losses = student.losses(batch, dropout)
    loss = losses["tokens"] + guidance[0] * losses["phonemes"] + guidance[1] * losses["attention"]
    gradients = torch.autograd.grad(loss, student.trained())
    return torch.cat([part.flatten() for part in gradients]), {k: float(v.detach()) for k, v in losses.items()}
