"""Checks the language model of the settings: sends a request as a worker does and waits for the first token."""

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from smelt.cli.checks.result import CheckResult

if TYPE_CHECKING:
    from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError
    from smelt.processor.synthesis.llm.endpoint import Endpoint, EndpointOptions

_CHECK: Final = "synthesis"
_QUESTION: Final = "Answer with the word yes."
# A local server may have to load the model first.
RESPONSE_TIMEOUT_S: Final = 60.0
_LIST_TIMEOUT_S: Final = 5.0
_MAX_NAMES: Final = 10


async def check_language_model(options: "EndpointOptions") -> CheckResult:
    """Request a word: listing the models would verify neither key nor quota nor access to the model."""
    from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError
    from smelt.processor.synthesis.llm.endpoint import Endpoint

    endpoint, started_s = Endpoint(options), time.monotonic()
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            await _first_word(endpoint)
    except TimeoutError:
        observed = f"{_describe(options)} did not respond within {RESPONSE_TIMEOUT_S:.0f} s"
        return CheckResult(_CHECK, "warn", observed, "it may still be loading: run `smelt doctor` again")
    except (SynthesisPermanentError, SynthesisTransientError) as error:
        return await _explain_error(error, options, endpoint)
    finally:
        await endpoint.aclose()
    return CheckResult(_CHECK, "ok", f"{_describe(options)} responds after {time.monotonic() - started_s:.1f} s")


async def _first_word(endpoint: "Endpoint") -> None:
    from smelt.processor.synthesis.llm.instructions import Message

    async with aclosing(endpoint.stream_completion((Message("user", _QUESTION),))) as tokens:
        async for _ in tokens:
            return


async def _explain_error(
    error: "SynthesisPermanentError | SynthesisTransientError", options: "EndpointOptions", endpoint: "Endpoint"
) -> CheckResult:
    observed = f"{_describe(options)}: {error}"
    match error.code:
        case "api_key_invalid":
            remedy = "set SMELT_LLM_API_KEY to a key that is valid for this endpoint and model"
        case "api_quota_exhausted":
            remedy = "the quota of the key is used up: check plan and billing of its account"
        case "api_rate_limited":
            remedy = (
                "too many requests for this key: smelts wait as long as the endpoint demands; request a higher limit"
            )
            return CheckResult(_CHECK, "warn", observed, remedy)
        case "connection_lost":
            remedy = "check that the server runs, and SMELT_LLM_BASE_URL, which usually ends in /v1"
        case _:
            remedy = f"check SMELT_LLM_MODEL{await _available_models(endpoint)} and SMELT_LLM_BASE_URL"
    return CheckResult(_CHECK, "fail", observed, remedy)


async def _available_models(endpoint: "Endpoint") -> str:
    from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError

    try:
        async with asyncio.timeout(_LIST_TIMEOUT_S):
            names = await endpoint.model_names()
    except (TimeoutError, SynthesisPermanentError, SynthesisTransientError):
        return ""
    return f" (available: {', '.join(names[:_MAX_NAMES])}{', ...' if len(names) > _MAX_NAMES else ''})" if names else ""


def _describe(options: "EndpointOptions") -> str:
    return f"{options.model} at {options.base_url}"
