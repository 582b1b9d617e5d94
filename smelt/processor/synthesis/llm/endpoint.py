"""The endpoint of a language model: the `openai` client, with errors mapped to smelt's error tree."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self, cast

import openai

from smelt.processor.errors import SynthesisPermanentError, SynthesisTransientError
from smelt.processor.synthesis.llm.instructions import Message

_TIMEOUT_S: Final = 120.0
# Comments and empty chunks keep a response alive: of a service with a queue, or of one that hangs.
_MAX_SILENCE_S: Final = 600.0
# The longest response of the largest models: 128,000 tokens of about four characters.
_MAX_CHARACTERS: Final = 500_000
# Servers send the reasoning of a model, which may take minutes, in a field of either name.
_TEXT_FIELDS: Final = ("content", "reasoning_content", "reasoning")
_NO_KEY: Final = "none"
_RETRY_DELAY_S: Final = 0.5
_MAX_RETRY_WAIT_S: Final = 10.0

_QUOTA_CODES: Final = frozenset(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"))
_RATE_LIMIT_CODES: Final = frozenset(("429", "rate_limit_exceeded"))
# Most limits are per minute; the attempts of a run have to reach into the next one.
_RATE_LIMIT_DELAY_S: Final = 30.0
_PAYMENT_REQUIRED: Final = 402
# Request Timeout, Conflict, Too Early.
_TRANSIENT_STATUSES: Final = frozenset((408, 409, 425))
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """The address, model and key of an endpoint; a private server may need no key."""

    base_url: str
    model: str
    api_key: str | None = None
    context_tokens: int = 16_384


@dataclass(frozen=True)
class Completion:
    """A piece of a response; `cut` if the response ended at its length limit."""

    text: str
    cut: bool = False


class Endpoint:
    """Streams responses; raises `SynthesisPermanentError` or `SynthesisTransientError` with an error code."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        # The retries of the client would sleep for minutes if the server asks for it.
        self._client = openai.AsyncOpenAI(
            base_url=options.base_url, api_key=options.api_key or _NO_KEY, timeout=_TIMEOUT_S, max_retries=0
        )

    async def stream_completion(self, messages: Sequence[Message]) -> AsyncGenerator[Completion, None]:
        """Yield the response to a conversation piece by piece."""
        finished = False
        try:
            async with await self._open(messages) as stream:
                async for chunk in _LimitedChunks(stream):
                    for choice in chunk.choices or ():
                        if choice.finish_reason == "content_filter":
                            raise SynthesisPermanentError(
                                "synthesis_failed", "the content filter of the endpoint ended the response"
                            )
                        finished = finished or choice.finish_reason is not None
                        yield Completion(choice.delta.content or "", cut=choice.finish_reason == "length")
        except openai.OpenAIError as exc:
            raise map_openai_error(exc) from exc
        except json.JSONDecodeError as exc:
            raise SynthesisPermanentError("synthesis_failed", "the response is not a stream of JSON") from exc
        if not finished:
            raise SynthesisTransientError("connection_lost", "the response is incomplete")

    async def model_names(self) -> tuple[str, ...]:
        """Return the models that the endpoint lists; not every endpoint does."""
        try:
            return tuple(sorted(model.id for model in (await self._client.models.list()).data))
        except openai.OpenAIError as exc:
            raise map_openai_error(exc) from exc

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _open(self, messages: Sequence[Message]) -> "openai.AsyncStream[Any]":
        try:
            return await self._request(messages)
        except SynthesisTransientError as exc:
            wait_s = _RETRY_DELAY_S if exc.retry_after_s is None else exc.retry_after_s
            # For a longer delay, the smelt goes back to the queue, and keeps its transcript.
            if wait_s > _MAX_RETRY_WAIT_S:
                raise
        await asyncio.sleep(wait_s)
        return await self._request(messages)

    async def _request(self, messages: Sequence[Message]) -> "openai.AsyncStream[Any]":
        try:
            # The body of an error may be endless as well.
            async with asyncio.timeout(_TIMEOUT_S):
                return cast(
                    "openai.AsyncStream[Any]",
                    await self._client.chat.completions.create(
                        model=self._options.model,
                        messages=cast("Any", [{"role": m.role, "content": m.content} for m in messages]),
                        # No limits and no temperature: some models reject them.
                        stream=True,
                    ),
                )
        except openai.OpenAIError as exc:
            raise map_openai_error(exc) from exc
        except TimeoutError as exc:
            raise _no_text(_TIMEOUT_S) from exc


class _LimitedChunks:
    """The chunks of a response, limited in the time without text and in the length of the text with its reasoning."""

    def __init__(self, stream: "openai.AsyncStream[Any]") -> None:
        self._stream = stream
        self._left_characters = _MAX_CHARACTERS
        self._deadline_s = _deadline_s()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            async with asyncio.timeout_at(self._deadline_s):
                chunk = await anext(self._stream)
        except TimeoutError as exc:
            raise _no_text(_MAX_SILENCE_S) from exc
        if length := sum(_length(choice.delta) for choice in chunk.choices or ()):
            self._left_characters -= length
            self._deadline_s = _deadline_s()
        if self._left_characters < 0:
            raise SynthesisPermanentError("synthesis_failed", "the response does not end")
        return chunk


def _deadline_s() -> float:
    return asyncio.get_running_loop().time() + _MAX_SILENCE_S


def _no_text(timeout_s: float) -> SynthesisTransientError:
    return SynthesisTransientError("connection_lost", f"no text within {timeout_s:.0f} s")


def _length(delta: Any) -> int:
    # Some servers send the reasoning under both names.
    texts = [getattr(delta, name, None) for name in _TEXT_FIELDS]
    return max(len(text) if isinstance(text, str) else 0 for text in texts)


def map_openai_error(exc: openai.OpenAIError) -> SynthesisPermanentError | SynthesisTransientError:
    """Map an error of the client to an error of the synthesis."""
    match exc:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return SynthesisPermanentError("api_key_invalid", exc.message)
        case openai.APIError() if _is_quota(exc):
            return SynthesisPermanentError("api_quota_exhausted", exc.message)
        case openai.APIError() if _is_rate_limit(exc):
            requested_s = retry_after_s(exc.response.headers) if isinstance(exc, openai.APIStatusError) else None
            return SynthesisTransientError(
                "api_rate_limited", exc.message, _RATE_LIMIT_DELAY_S if requested_s is None else requested_s
            )
        case openai.APIConnectionError():
            return SynthesisTransientError("connection_lost", exc.message)
        case openai.APIStatusError() if exc.status_code in _TRANSIENT_STATUSES or exc.status_code >= _SERVER_ERROR:
            return SynthesisTransientError("connection_lost", exc.message, retry_after_s(exc.response.headers))
        case openai.APIStatusError() | openai.APIResponseValidationError():
            return SynthesisPermanentError("synthesis_failed", exc.message)
        case openai.APIError() if not str(exc.code).startswith("4"):
            # An error in the stream, usually from a proxy whose model server has gone.
            return SynthesisTransientError("connection_lost", exc.message)
        case _:
            return SynthesisPermanentError("synthesis_failed", str(exc))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Parse the `Retry-After` header, seconds or a date, to seconds; None if it is missing or invalid."""
    header = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(header)
    except ValueError:
        seconds = _seconds_until(header, headers.get("date", ""))
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(moment: str, now: str) -> float:
    try:
        # Both by the clock of the server.
        return (parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError):
        return math.nan


def _is_quota(exc: openai.APIError) -> bool:
    unpaid = isinstance(exc, openai.APIStatusError) and exc.status_code == _PAYMENT_REQUIRED
    return unpaid or not _QUOTA_CODES.isdisjoint((exc.code, exc.type))


def _is_rate_limit(exc: openai.APIError) -> bool:
    return isinstance(exc, openai.RateLimitError) or str(exc.code) in _RATE_LIMIT_CODES
