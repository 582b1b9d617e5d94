"""Export of the trained network to a CTranslate2 folder, which faster-whisper loads like any other model."""

import copy
import json
import shutil
from pathlib import Path

from ctranslate2.converters.transformers import WhisperLoader
from ctranslate2.specs.whisper_spec import WhisperSpec
from network import GUIDED_HEADS, Whisper
from sound import HOP, MEL_BINS
from tokens import WINDOW_S, Vocabulary

SAMPLE_RATE = 16_000


def export(network: Whisper, tokenizer: Path, folder: Path) -> None:
    """Write weights (int8), vocabulary, tokenizer and preprocessor settings."""
    folder.mkdir(parents=True, exist_ok=True)
    _spec(network, Vocabulary(tokenizer)).save(str(folder))
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    settings = {
        "chunk_length": WINDOW_S,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": MEL_BINS,
        "hop_length": HOP,
        "n_fft": 400,
        "n_samples": WINDOW_S * SAMPLE_RATE,
        "nb_max_frames": WINDOW_S * SAMPLE_RATE // HOP,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": SAMPLE_RATE,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def _spec(network: Whisper, vocabulary: Vocabulary) -> WhisperSpec:
    shape = network.shape
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    # Quantization modifies the tensors in place, so it gets copies of the network and of the shared embedding.
    copied = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    loader = WhisperLoader()
    loader.set_encoder(spec.encoder, copied.encoder)
    loader.set_decoder(spec.decoder, copied.decoder)
    loader.set_linear(spec.decoder.projection, copy.deepcopy(copied.decoder.embed_tokens))
    spec.register_vocabulary([vocabulary.tokenizer.id_to_token(i) for i in range(vocabulary.size)])
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = []
    # The guided heads of the last layer attend to the word that is written next.
    spec.config.alignment_heads = [[shape.decoder_layers - 1, head] for head in range(GUIDED_HEADS)]
    spec.validate()
    spec.optimize(quantization="int8")
    return spec
