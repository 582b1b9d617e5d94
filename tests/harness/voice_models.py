"""A tiny model of "voices" for tests: it distinguishes speech with high frequencies from speech without."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

RATE = 16_000
_FIRST_HIGH_BIN = 60
_MUFFLED_HZ = 2500
_THRESHOLD = 1.0


def write_voice_model(path: Path) -> Path:
    """Write a model whose vector points up if the high mel bins change as speech does, else down."""
    constants: dict[str, NDArray[Any]] = {
        "time": np.array([1], np.int64),
        "bins": np.array([1], np.int64),
        "from": np.array([_FIRST_HIGH_BIN], np.int64),
        "to": np.array([80], np.int64),
        "axis": np.array([2], np.int64),
        "threshold": np.array([_THRESHOLD], np.float32),
        "side": np.array([[1.0, 0.01]], np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["features", "from", "to", "axis"], ["high"]),
        helper.make_node("Mul", ["high", "high"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "time"], ["variances"], keepdims=0),
        helper.make_node("ReduceMean", ["variances", "bins"], ["change"], keepdims=1),
        helper.make_node("Sub", ["change", "threshold"], ["above"]),
        helper.make_node("Sign", ["above"], ["sign"]),
        helper.make_node("Mul", ["sign", "side"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "voices",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["windows", "frames", 80])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["windows", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def muffled(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a sound without high frequencies."""
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / RATE) > _MUFFLED_HZ] = 0
    silenced: NDArray[np.float32] = np.fft.irfft(spectrum, len(sound)).astype(np.float32)
    # Without noise, the bins above would have the logarithm of nothing.
    return silenced + np.random.default_rng(0).normal(0, 1e-3, len(sound)).astype(np.float32)
