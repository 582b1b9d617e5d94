"""Creates the synthesizer of a worker."""

import importlib.util
from typing import TYPE_CHECKING

from smelt.distribution import install_command
from smelt.errors import SettingsError
from smelt.processor.options import WorkerOptions
from smelt.processor.synthesis.extractor import ExtractiveSynthesizer
from smelt.processor.synthesis.request import Synthesizer

if TYPE_CHECKING:
    from smelt.processor.synthesis.llm.endpoint import EndpointOptions


def create_synthesizer(options: WorkerOptions) -> Synthesizer:
    """Return the synthesizer for these options: generative with a language model, else extractive."""
    endpoint = endpoint_options(options)
    if endpoint is None:
        return ExtractiveSynthesizer()
    from smelt.processor.synthesis.llm.generative import GenerativeSynthesizer

    return GenerativeSynthesizer(endpoint)


def endpoint_options(options: WorkerOptions) -> "EndpointOptions | None":
    """Return the options of the language model, None without one; raise `SettingsError` if they are incomplete."""
    if options.llm_base_url is None:
        if options.llm_model is not None or options.llm_api_key is not None:
            raise SettingsError("SMELT_LLM_BASE_URL is not set, but SMELT_LLM_MODEL or SMELT_LLM_API_KEY is")
        return None
    if options.llm_model is None:
        raise SettingsError("SMELT_LLM_MODEL is not set: SMELT_LLM_BASE_URL needs the name of a model")
    if not options.llm_base_url.startswith(("http://", "https://")):
        raise SettingsError(f"SMELT_LLM_BASE_URL needs to start with http:// or https://, not {options.llm_base_url!r}")
    if importlib.util.find_spec("openai") is None:
        raise SettingsError(f"SMELT_LLM_BASE_URL needs the extra `llm`: {install_command('llm')}")
    from smelt.processor.synthesis.llm.endpoint import EndpointOptions

    return EndpointOptions(
        base_url=options.llm_base_url,
        model=options.llm_model,
        api_key=options.llm_api_key,
        context_tokens=options.llm_context_tokens,
    )
