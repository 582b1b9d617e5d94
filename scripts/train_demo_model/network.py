"""Whisper's network in plain PyTorch, with the parameter names of transformers.

faster-whisper pads every window with zeros to 3,000 mel frames, so the encoder always processes 1,500 positions. Here
all positions beyond the window share one position vector. They are therefore equal in every layer, and a key that
occurs n times in a softmax is equivalent to one key with log(n) added to its logit: training needs 503 positions for
the result of 1,500.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

POSITIONS = 1_500
GUIDED_HEADS = 2


@dataclass(frozen=True)
class Shape:
    """The size of the network; `window_positions` is where pure padding begins."""

    vocabulary: int
    width: int = 128
    heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 2
    feed_forward: int = 512
    mel_bins: int = 80
    text_positions: int = 448
    window_positions: int = 502


def _sinusoids(length: int, width: int) -> Tensor:
    scales = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * scales[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        """Attend from each position of x to all positions of the context; `bias` is added to their logits."""
        weights = _weights(self._split(self.q_proj(x)), self._split(self.k_proj(context)), bias)
        return self._merged(weights @ self._split(self.v_proj(context)))

    def causal(self, x: Tensor) -> Tensor:
        """Attend from each position of x to itself and to earlier positions."""
        query, key, value = (self._split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        return self._merged(functional.scaled_dot_product_attention(query, key, value, is_causal=True))

    def guided_weights(self, x: Tensor, context: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
        """Return the attention weights of the guided heads from some rows of x: (batch, head, row, position)."""
        query = self._split(self.q_proj(x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[2]))))
        key = self._split(self.k_proj(context))
        return _weights(query[:, :GUIDED_HEADS], key[:, :GUIDED_HEADS], bias)

    def _merged(self, heads: Tensor) -> Tensor:
        return self.out_proj(heads.transpose(1, 2).flatten(2))


def _weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    # The bias is an additional feature of the keys: on a CPU twice as fast as a mask or PyTorch's fused attention.
    query = torch.cat([query / math.sqrt(query.shape[-1]), torch.ones_like(query[..., :1])], dim=-1)
    key = torch.cat([key, bias[:, None, :, None].expand(*key.shape[:3], 1).to(key.dtype)], dim=-1)
    return (query @ key.transpose(2, 3)).softmax(-1)


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.fc1 = nn.Linear(shape.width, shape.feed_forward)
        self.fc2 = nn.Linear(shape.feed_forward, shape.width)
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class EncoderLayer(_Layer):
    def forward(self, x: Tensor, bias: Tensor, dropout: float) -> Tensor:
        y = self.self_attn_layer_norm(x)
        return self._feed_forward(x + functional.dropout(self.self_attn(y, y, bias), dropout, self.training))


class DecoderLayer(_Layer):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.encoder_attn = Attention(shape)
        self.encoder_attn_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor, encoded: Tensor, bias: Tensor, dropout: float, rows: Tensor) -> tuple[Tensor, Tensor]:
        y = self.self_attn_layer_norm(x)
        x = x + functional.dropout(self.self_attn.causal(y), dropout, self.training)
        y = self.encoder_attn_layer_norm(x)
        weights = self.encoder_attn.guided_weights(y, encoded, bias, rows)
        x = x + functional.dropout(self.encoder_attn(y, encoded, bias), dropout, self.training)
        return self._feed_forward(x), weights


class Encoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(shape.mel_bins, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        positions = _sinusoids(POSITIONS, shape.width)
        positions[shape.window_positions :] = 0.0
        self.embed_positions = nn.Embedding.from_pretrained(positions, freeze=True)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.encoder_layers))
        self.layer_norm = nn.LayerNorm(shape.width)
        self._padding_logit = math.log(POSITIONS - shape.window_positions)

    def forward(self, mel: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the encoding of each position and an attention bias; the last position represents all padding."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        count = x.shape[1]
        bias = torch.zeros(1, count, device=x.device)
        if count < POSITIONS:
            bias[:, -1] = self._padding_logit
        positions = self.embed_positions.weight
        x = x + torch.cat([positions[: count - 1], positions[-1:]])
        for layer in self.layers:
            x = layer(x, bias, dropout)
        return self.layer_norm(x), bias


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        nn.init.normal_(self.embed_tokens.weight, std=shape.width**-0.5)
        self.embed_positions = nn.Embedding(shape.text_positions, shape.width)
        self.embed_positions.weight.data.copy_(_sinusoids(shape.text_positions, shape.width) * 0.3)
        self.layers = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.decoder_layers))
        self.layer_norm = nn.LayerNorm(shape.width)

    def forward(
        self, ids: Tensor, encoded: Tensor, bias: Tensor, rows: Tensor, dropout: float = 0.0
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the state after each token, and the guided attention weights of each layer."""
        x = self.embed_tokens(ids) + self.embed_positions.weight[: ids.shape[1]]
        weights = []
        for layer in self.layers:
            x, attended = layer(x, encoded, bias, dropout, rows)
            weights.append(attended)
        return self.layer_norm(x), weights


class Whisper(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)

    def logits(self, states: Tensor) -> Tensor:
        return functional.linear(states, self.decoder.embed_tokens.weight)
