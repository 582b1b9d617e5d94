"""The endpoint of a language model, through the `openai` client, with errors of smelt's own tree."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import openai

from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError
from smelt.processor.synthesis.llm.instructions import Message

_TIMEOUT_S: Final = 120.0
_NO_KEY: Final = "none"
_AGAIN_AFTER_S: Final = 0.5
_MAX_RETRY_WAIT_S: Final = 10.0

_QUOTA_CODES: Final = frozenset(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"))
_RATE_LIMIT_CODES: Final = frozenset(("429", "rate_limit_exceeded"))
# Limits are mostly by the minute; the tries of a run shall reach into the next one.
_RATE_LIMIT_S: Final = 30.0
_PAYMENT_REQUIRED: Final = 402
# A timeout, a conflict, too early.
_TRANSIENT_STATUSES: Final = frozenset((408, 409, 425))
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Where a language model answers; a server of one's own may want no key."""

    base_url: str
    model: str
    api_key: str | None = None
    context_tokens: int = 16_384


@dataclass(frozen=True)
class Completion:
    """A piece of an answer; `cut` when it ends because it reached the limit of its length."""

    text: str
    cut: bool = False


class Endpoint:
    """Streams answers; raises `SynthesisPermanentError` or `SynthesisTransientError` with the code of the contract."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        # The client would sleep for minutes, if it is asked to.
        self._client = openai.AsyncOpenAI(
            base_url=options.base_url, api_key=options.api_key or _NO_KEY, timeout=_TIMEOUT_S, max_retries=0
        )

    async def answer(self, messages: Sequence[Message]) -> AsyncGenerator[Completion, None]:
        """The answer to a conversation, piece by piece."""
        finished = False
        try:
            async with await self._open(messages) as stream:
                async for chunk in stream:
                    for choice in chunk.choices or ():
                        if choice.finish_reason == "content_filter":
                            raise SynthesisPermanentError("synthesis_failed", "the endpoint's filter ended the answer")
                        finished = finished or choice.finish_reason is not None
                        yield Completion(choice.delta.content or "", cut=choice.finish_reason == "length")
        except openai.OpenAIError as exc:
            raise fault_of(exc) from exc
        except json.JSONDecodeError as exc:
            raise SynthesisPermanentError("synthesis_failed", "the answer is no stream of JSON") from exc
        if not finished:
            raise SynthesisTransientError("connection_lost", "the answer ends in the middle")

    async def model_names(self) -> tuple[str, ...]:
        """The models that it says it has; not every endpoint does."""
        try:
            return tuple(sorted(model.id for model in (await self._client.models.list()).data))
        except openai.OpenAIError as exc:
            raise fault_of(exc) from exc

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _open(self, messages: Sequence[Message]) -> "openai.AsyncStream[Any]":
        try:
            return await self._ask(messages)
        except openai.OpenAIError as exc:
            fault = fault_of(exc)
            if isinstance(fault, SynthesisPermanentError):
                raise
            wait_s = _AGAIN_AFTER_S if fault.retry_after_s is None else fault.retry_after_s
            # A smelt that has to wait for longer is given back, and keeps its transcript.
            if wait_s > _MAX_RETRY_WAIT_S:
                raise
        await asyncio.sleep(wait_s)
        return await self._ask(messages)

    async def _ask(self, messages: Sequence[Message]) -> "openai.AsyncStream[Any]":
        return cast(
            "openai.AsyncStream[Any]",
            await self._client.chat.completions.create(
                model=self._options.model,
                messages=cast("Any", [{"role": m.role, "content": m.content} for m in messages]),
                # No limits and no temperature: models differ in which they refuse.
                stream=True,
            ),
        )


def fault_of(exc: openai.OpenAIError) -> SynthesisPermanentError | SynthesisTransientError:
    """What an error of the client means for the smelt."""
    match exc:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return SynthesisPermanentError("api_key_invalid", exc.message)
        case openai.APIError() if _is_quota(exc):
            return SynthesisPermanentError("api_quota_exhausted", exc.message)
        case openai.APIError() if _is_rate_limit(exc):
            asked_s = retry_after_s(exc.response.headers) if isinstance(exc, openai.APIStatusError) else None
            return SynthesisTransientError(
                "api_rate_limited", exc.message, _RATE_LIMIT_S if asked_s is None else asked_s
            )
        case openai.APIConnectionError():
            return SynthesisTransientError("connection_lost", exc.message)
        case openai.APIStatusError() if exc.status_code in _TRANSIENT_STATUSES or exc.status_code >= _SERVER_ERROR:
            return SynthesisTransientError("connection_lost", exc.message, retry_after_s(exc.response.headers))
        case openai.APIStatusError() | openai.APIResponseValidationError():
            return SynthesisPermanentError("synthesis_failed", exc.message)
        case openai.APIError() if not str(exc.code).startswith("4"):
            # Told in the middle of an answer, mostly by what stands in front of a model that has gone.
            return SynthesisTransientError("connection_lost", exc.message)
        case _:
            return SynthesisPermanentError("synthesis_failed", str(exc))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds of a `Retry-After`, which may be a date; None without one that can be read."""
    asked = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(asked)
    except ValueError:
        seconds = _seconds_until(asked, headers.get("date", ""))
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(moment: str, now: str) -> float:
    try:
        # By the clock of whoever sent both.
        return (parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError):
        return math.nan


def _is_quota(exc: openai.APIError) -> bool:
    unpaid = isinstance(exc, openai.APIStatusError) and exc.status_code == _PAYMENT_REQUIRED
    return unpaid or not _QUOTA_CODES.isdisjoint((exc.code, exc.type))


def _is_rate_limit(exc: openai.APIError) -> bool:
    return isinstance(exc, openai.RateLimitError) or str(exc.code) in _RATE_LIMIT_CODES
