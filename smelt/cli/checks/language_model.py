"""Whether the language model of the settings writes: asks it as a worker does, and listens to its first word."""

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
# A server of one's own may have to load the model first.
RESPONSE_TIMEOUT_S: Final = 60.0
_NAMES_TIMEOUT_S: Final = 5.0
_MAX_NAMES: Final = 10


async def check_language_model(options: "EndpointOptions") -> CheckResult:
    """Ask for a word; a list of models would neither prove the key nor the quota nor that the model can be had."""
    from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError
    from smelt.processor.synthesis.llm.endpoint import Endpoint

    endpoint, began_s = Endpoint(options), time.monotonic()
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            await _first_word(endpoint)
    except TimeoutError:
        seen = f"{_named(options)} did not begin to answer within {RESPONSE_TIMEOUT_S:.0f} s"
        return CheckResult(_CHECK, "warn", seen, "look whether it is still being loaded, and run the doctor again")
    except (SynthesisPermanentError, SynthesisTransientError) as fault:
        return await _diagnosis(fault, options, endpoint)
    finally:
        await endpoint.aclose()
    return CheckResult(_CHECK, "ok", f"{_named(options)} begins to answer in {time.monotonic() - began_s:.1f} s")


async def _first_word(endpoint: "Endpoint") -> None:
    from smelt.processor.synthesis.llm.instructions import Message

    async with aclosing(endpoint.stream_completion((Message("user", _QUESTION),))) as answer:
        async for _ in answer:
            return


async def _diagnosis(
    fault: "SynthesisPermanentError | SynthesisTransientError", options: "EndpointOptions", endpoint: "Endpoint"
) -> CheckResult:
    seen = f"{_named(options)}: {fault}"
    match fault.code:
        case "api_key_invalid":
            advice = "set SMELT_LLM_API_KEY to a key that this endpoint takes for this model"
        case "api_quota_exhausted":
            advice = "the key has nothing left to spend: look at the plan and the billing of its account"
        case "api_rate_limited":
            advice = "too many requests for this key: smelts wait as long as the endpoint asks for, or get it more"
            return CheckResult(_CHECK, "warn", seen, advice)
        case "connection_lost":
            advice = "look whether its server runs, and at SMELT_LLM_BASE_URL, which mostly ends in /v1"
        case _:
            advice = f"look at SMELT_LLM_MODEL{await _offered(endpoint)}, and at SMELT_LLM_BASE_URL"
    return CheckResult(_CHECK, "fail", seen, advice)


async def _offered(endpoint: "Endpoint") -> str:
    from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError

    try:
        async with asyncio.timeout(_NAMES_TIMEOUT_S):
            names = await endpoint.model_names()
    except (TimeoutError, SynthesisPermanentError, SynthesisTransientError):
        return ""
    return f" (there is {', '.join(names[:_MAX_NAMES])}{', ...' if len(names) > _MAX_NAMES else ''})" if names else ""


def _named(options: "EndpointOptions") -> str:
    return f"{options.model} at {options.base_url}"
