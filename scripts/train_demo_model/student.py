"""The network with what only its training needs."""

import torch
from batches import IGNORED, Batch
from network import Shape, Whisper
from torch import Tensor, nn
from torch.nn import functional

_LEAST = 1e-5


class Student(nn.Module):
    """A Whisper that also guesses the phoneme of each encoder position."""

    def __init__(self, shape: Shape, phoneme_count: int) -> None:
        super().__init__()
        self.whisper = Whisper(shape)
        self.phonemes = nn.Linear(shape.width, phoneme_count)

    def losses(self, batch: Batch, dropout: float) -> dict[str, Tensor]:
        """Cross-entropy of tokens and phonemes, how far the guided heads look astray, and the share of right tokens."""
        heard, bias = self.whisper.encoder(batch.mel, dropout)
        states, attended = self.whisper.decoder(batch.ids, heard, bias, batch.rows, dropout)
        asked = batch.wanted != IGNORED
        logits = self.whisper.logits(states[asked]).float()
        guesses = self.phonemes(heard[:, : batch.phonemes.shape[1]]).float()
        return {
            "tokens": functional.cross_entropy(logits, batch.wanted[asked]),
            "phonemes": functional.cross_entropy(guesses.flatten(0, 1), batch.phonemes.flatten()),
            # The first layer looks at the token it has, the last one at all of the token it is about to write.
            "attention": _stray(attended[0], batch.heard_now) + _uneven(attended[-1], batch.heard_next),
            "accuracy": (logits.argmax(-1) == batch.wanted[asked]).float().mean(),
        }

    def trained(self) -> list[nn.Parameter]:
        """All weights that are learned."""
        return [weights for weights in self.parameters() if weights.requires_grad]


def _stray(weights: Tensor, where: Tensor) -> Tensor:
    """How much attention misses the token: none is 0."""
    inside = (weights.float() * where[:, None]).sum(-1)
    return _mean(-(inside + _LEAST).log(), where)


def _uneven(weights: Tensor, where: Tensor) -> Tensor:
    """The divergence from attention that lies on each moment of the token alike.

    Word times come from this attention: a moment that no token looks at would go to any of them.
    """
    moments = where.sum(-1)[:, None].clamp(min=1)
    surprise = -((weights.float() + _LEAST).log() * where[:, None]).sum(-1) / moments
    return _mean(surprise - moments.log(), where)


def _mean(losses: Tensor, where: Tensor) -> Tensor:
    rows = where.any(-1)[:, None].expand_as(losses)
    # A part of a batch may have nothing that is heard anywhere.
    return losses[rows].sum() / rows.sum().clamp(min=1)


def gradient(
    student: Student, batch: Batch, *, seed: int, dropout: float, guidance: tuple[float, float]
) -> tuple[Tensor, dict[str, float]]:
    """The gradient of a batch as one vector, and its losses; `guidance` weighs phonemes and attention."""
    # Dropout depends on the seed alone, so that a resumed run goes the way of an unbroken one.
    torch.manual_seed(seed)
    with torch.autocast(batch.mel.device.type, torch.bfloat16):
        losses = student.losses(batch, dropout)
    loss = losses["tokens"] + guidance[0] * losses["phonemes"] + guidance[1] * losses["attention"]
    gradients = torch.autograd.grad(loss, student.trained())
    return torch.cat([part.flatten() for part in gradients]), {k: float(v.detach()) for k, v in losses.items()}
