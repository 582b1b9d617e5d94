"""Loads the model that all smelts of a worker share."""

import contextlib
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from ctranslate2 import get_cuda_device_count, get_supported_compute_types
from ctranslate2.models import Whisper
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import _LANGUAGE_CODES
from faster_whisper.utils import _MODELS, available_models

from smelt.errors import SettingsError
from smelt.processor.speech.demo_model_card import DEMO, demo_folder
from smelt.processor.speech.values import ModelOptions

logger = logging.getLogger(__name__)

_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SMALLER_TYPES: Final = {4: ("float16", "int8_float16", "int8"), 2: ("int8_float16", "int8")}


def smaller_compute_type(model: Whisper) -> str | None:
    """Return a supported compute type with fewer bytes per weight; None if there is none."""
    return next(iter(_smaller_types(model.compute_type, model.device)), None)


def _smaller_types(compute_type: str, device: str) -> list[str]:
    if device == "auto":
        device = "cuda" if get_cuda_device_count() else "cpu"
    try:
        supported = get_supported_compute_types(device)
    except (ValueError, RuntimeError):  # The device does not exist.
        return []
    return [name for name in _SMALLER_TYPES.get(_bytes(compute_type), ()) if name in supported]


def _bytes(compute_type: str) -> int:
    return 1 if compute_type.startswith("int8") else 4 if compute_type == "float32" else 2


def load_model(options: ModelOptions) -> WhisperModel:
    """Load the model from its folder or the model hub; raise `SettingsError` with one sentence if that fails.

    If the model does not fit into memory, it is loaded with fewer bytes per weight.
    """
    source = _source(options.name)
    # The demo model is stored in a type that few devices support; by default CTranslate2 would convert it and warn.
    compute_type = "int8" if (options.name, options.compute_type) == (DEMO, "default") else options.compute_type
    try:
        return _load(source, replace(options, compute_type=compute_type))
    except OSError as exc:  # The hub is unreachable, or an error of huggingface_hub.
        raise SettingsError(
            f"SMELT_MODEL={options.name} could not be downloaded ({_line(exc)}): check the network, "
            f"or set SMELT_MODEL to a folder with a converted model, or to `{DEMO}`"
        ) from exc
    except ValueError as exc:  # CTranslate2, for a compute type that the device does not support.
        raise SettingsError(f"SMELT_COMPUTE_TYPE or SMELT_DEVICE does not fit this machine: {_line(exc)}") from exc
    except (RuntimeError, MemoryError) as exc:  # CTranslate2, without a model in the folder or a driver for the device.
        raise SettingsError(f"SMELT_MODEL={options.name} on SMELT_DEVICE={options.device}: {_line(exc)}") from exc


def names_of(options: ModelOptions) -> tuple[str, ...]:
    """Return the names under which a smelt may request a model: its size and its name on the hub, or its folder's."""
    same = (other for other in available_models() if _MODELS[other] == _MODELS.get(options.name, options.name))
    hub = _MODELS.get(options.name)
    names = (options.title, *(() if options.title != options.name else (*same, *filter(None, [hub]))))
    return tuple(dict.fromkeys(names))


def known_languages(model: WhisperModel) -> tuple[str, ...]:
    """Return the codes of the languages that a model knows; English alone if it is not multilingual."""
    if not model.model.is_multilingual:
        return ("en",)
    return tuple(code for code in _LANGUAGE_CODES if model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None)


def _load(source: str, options: ModelOptions) -> WhisperModel:
    try:
        return _whisper_model(source, options, options.compute_type)
    except (RuntimeError, MemoryError) as exc:
        # CTranslate2 raises these if it is out of memory; other errors occur with a smaller type as well.
        for smaller in _smaller_types(options.compute_type, options.device):
            with contextlib.suppress(RuntimeError, MemoryError):
                model = _whisper_model(source, options, smaller)
                logger.warning(
                    "loading the model as %s failed (%s), loaded it as %s", options.compute_type, _line(exc), smaller
                )
                return model
        raise


def _whisper_model(source: str, options: ModelOptions, compute_type: str) -> WhisperModel:
    return WhisperModel(
        source,
        device=options.device,
        compute_type=compute_type,
        cpu_threads=options.cpu_threads,
        num_workers=options.lanes,
    )


def _source(name: str) -> str:
    if name == DEMO:
        return str(demo_folder())
    if Path(name).is_dir():
        # Without a tokenizer, faster-whisper downloads one, which is wrong for the newest models.
        for needed in ("model.bin", "tokenizer.json"):
            if not (Path(name) / needed).is_file():
                raise SettingsError(
                    f"SMELT_MODEL={name} has no {needed}: set it to a folder with a model in the format of CTranslate2 "
                    "and its tokenizer.json"
                )
        return name
    if _HUB_NAME.fullmatch(name) or name in available_models():
        return name
    raise SettingsError(
        f"SMELT_MODEL={name} is neither a local folder, a Hugging Face model, nor a known size. Known sizes: "
        f"{', '.join(available_models())}, and `{DEMO}`"
    )


def _line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(exc).__name__
