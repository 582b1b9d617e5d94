"""Loading of the weights of an exported model, from which the training of a wider grammar starts."""

import json
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from network import Attention, Whisper
from tokens import Vocabulary
from torch import Tensor, nn

_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


class _Exported:
    """The variables of a CTranslate2 model.bin by name, as floating-point numbers."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            _number(file, "I")
            _name(file)
            _number(file, "I")
            self._variables = dict(_variable(file) for _ in range(_number(file, "I")))

    def tensor(self, name: str) -> Tensor:
        values = self._variables[name].astype(np.float32)
        scale = self._variables.get(f"{name}_scale")
        if scale is not None:
            values = values / scale.reshape(-1, *[1] * (values.ndim - 1))
        return torch.from_numpy(values)

    def linear(self, name: str, *layers: nn.Linear) -> None:
        """Load layers from one fused matrix, which holds zeros for layers without a bias."""
        rows = [layer.out_features for layer in layers]
        weights, biases = self.tensor(f"{name}/weight").split(rows), self.tensor(f"{name}/bias").split(rows)
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)

    def norm(self, name: str, layer: nn.LayerNorm) -> None:
        layer.weight.copy_(self.tensor(f"{name}/gamma"))
        layer.bias.copy_(self.tensor(f"{name}/beta"))


def _number(file: BinaryIO, code: str) -> int:
    (value,) = struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))
    return int(value)


def _name(file: BinaryIO) -> str:
    return file.read(_number(file, "H"))[:-1].decode()


def _variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    name = _name(file)
    shape = [_number(file, "I") for _ in range(_number(file, "B"))]
    kind = _TYPES[_number(file, "B")]
    return name, np.frombuffer(file.read(_number(file, "I")), kind).reshape(shape)


@torch.no_grad()
def load_weights(network: Whisper, vocabulary: Vocabulary, folder: Path) -> None:
    """Load a network of the same shape; tokens that the exported model lacks keep their random values."""
    exported = _Exported(folder / "model.bin")
    encoder, decoder = network.encoder, network.decoder
    for number, conv in ((1, encoder.conv1), (2, encoder.conv2)):
        conv.weight.copy_(exported.tensor(f"encoder/conv{number}/weight"))
        conv.bias.copy_(exported.tensor(f"encoder/conv{number}/bias"))
    for side, part in (("encoder", encoder), ("decoder", decoder)):
        exported.norm(f"{side}/layer_norm", part.layer_norm)
        for number, layer in enumerate(part.layers):
            _load_layer(exported, f"{side}/layer_{number}", layer)
    decoder.embed_positions.weight.copy_(exported.tensor("decoder/position_encodings/encodings"))
    known = {token: row for row, token in enumerate(json.loads((folder / "vocabulary.json").read_text()))}
    rows = exported.tensor("decoder/embeddings/weight")
    for number in range(vocabulary.size):
        token = vocabulary.tokenizer.id_to_token(number)
        # A word at the beginning of a sentence sounds like the same word within one.
        row = known.get(token, known.get(token.lower() if token.startswith("Ġ") else token))
        if row is not None:
            decoder.embed_tokens.weight[number] = rows[row]


def _load_layer(exported: _Exported, name: str, layer: nn.Module) -> None:
    attention: Attention = layer.self_attn
    exported.linear(f"{name}/self_attention/linear_0", attention.q_proj, attention.k_proj, attention.v_proj)
    exported.linear(f"{name}/self_attention/linear_1", attention.out_proj)
    exported.norm(f"{name}/self_attention/layer_norm", layer.self_attn_layer_norm)
    if hasattr(layer, "encoder_attn"):
        attention = layer.encoder_attn
        exported.linear(f"{name}/attention/linear_0", attention.q_proj)
        exported.linear(f"{name}/attention/linear_1", attention.k_proj, attention.v_proj)
        exported.linear(f"{name}/attention/linear_2", attention.out_proj)
        exported.norm(f"{name}/attention/layer_norm", layer.encoder_attn_layer_norm)
    exported.linear(f"{name}/ffn/linear_0", layer.fc1)
    exported.linear(f"{name}/ffn/linear_1", layer.fc2)
    exported.norm(f"{name}/ffn/layer_norm", layer.final_layer_norm)
