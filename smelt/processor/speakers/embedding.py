"""Vectors of voices: an ONNX model over 80 mel features, such as CAM++ or those of WeSpeaker."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from kaldi_native_fbank import FbankOptions, OnlineFbank
from onnxruntime import InferenceSession, SessionOptions

from smelt.errors import PermanentError
from smelt.processor.media.recording import SAMPLE_RATE, Samples
from smelt.processor.speakers.turns import WINDOW_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEL_BINS: Final = 80
_BATCH: Final = 32
# The model was trained with 16-bit samples.
_FULL_SCALE: Final = 32768
_WINDOW_SAMPLES: Final = round(WINDOW_S * SAMPLE_RATE)


class VoiceModelError(PermanentError):
    """The model can't be loaded, or is not a model of voices."""


class VoiceModel:
    """A model that maps features (windows, frames, 80) to vectors (windows, dimensions); raises `VoiceModelError`.

    It uses one thread: the model for transcription has the others.
    """

    def __init__(self, path: Path) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # The errors of onnxruntime have no common base.
            raise VoiceModelError(f"{path} can't be loaded: {exc}") from exc
        self._input = self._session.get_inputs()[0].name

    def embeddings(self, parts: Sequence[Samples]) -> "NDArray[np.float32]":
        """Return the vector of the voice in each part (parts, dimensions), each of length 1."""
        batches = [parts[at : at + _BATCH] for at in range(0, len(parts), _BATCH)]
        vectors = np.concatenate([self._run(np.stack([_features(part) for part in batch])) for batch in batches])
        normed: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return normed

    def _run(self, features: "NDArray[np.float32]") -> "NDArray[np.float32]":
        try:
            vectors: NDArray[np.float32] = self._session.run(None, {self._input: features})[0]
        except Exception as exc:  # For example a model with another input.
            raise VoiceModelError(f"the model failed: {exc}") from exc
        if vectors.ndim != 2 or len(vectors) != len(features):
            raise VoiceModelError(f"the model returned {vectors.shape} for {len(features)} windows")
        return vectors


def _features(part: Samples) -> "NDArray[np.float32]":
    """Return the log mel features of a part (frames, 80) without their mean; a short part is repeated."""
    options = FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = _MEL_BINS
    bank = OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, (np.resize(part, _WINDOW_SAMPLES) * _FULL_SCALE).tolist())
    bank.input_finished()
    features = np.stack([bank.get_frame(n) for n in range(bank.num_frames_ready)])
    centered: NDArray[np.float32] = features - features.mean(axis=0)
    return centered
