"""The endpoint of a language model, through the `openai` client, with errors of smelt's own tree."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import openai

from smelt.processor.faults import SynthesisPassing, SynthesisRefused
from smelt.processor.synthesis.llm.instructions import Message

_TIMEOUT_S: Final = 120.0
_NO_KEY: Final = "none"


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Where a language model answers; a server of one's own may want no key."""

    base_url: str
    model: str
    api_key: str | None = None
    context_tokens: int = 16_384


@dataclass(frozen=True)
class Written:
    """A piece of an answer; `cut` when it ends because it reached the limit of its length."""

    text: str
    cut: bool = False


class Endpoint:
    """Streams answers; raises `SynthesisRefused` or `SynthesisPassing` with the code of the contract."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        # Nothing is retried here for long: a smelt that has to wait is given back, and keeps its transcript.
        self._client = openai.AsyncOpenAI(
            base_url=options.base_url, api_key=options.api_key or _NO_KEY, timeout=_TIMEOUT_S, max_retries=1
        )

    async def answer(self, messages: Sequence[Message]) -> AsyncGenerator[Written, None]:
        """The answer to a conversation, piece by piece."""
        finished = False
        try:
            async with await self._open(messages) as stream:
                async for chunk in stream:
                    for choice in chunk.choices:
                        finished = finished or choice.finish_reason is not None
                        yield Written(choice.delta.content or "", cut=choice.finish_reason == "length")
        except openai.OpenAIError as exc:
            raise fault_of(exc) from exc
        if not finished:
            raise SynthesisPassing("connection_lost", "the answer ends in the middle")

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
        return cast(
            "openai.AsyncStream[Any]",
            await self._client.chat.completions.create(
                model=self._options.model,
                messages=cast("Any", [{"role": m.role, "content": m.content} for m in messages]),
                # No limits and no temperature: models differ in which they refuse.
                stream=True,
            ),
        )


def fault_of(exc: openai.OpenAIError) -> SynthesisRefused | SynthesisPassing:
    """What an error of the client means for the smelt."""
    match exc:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return SynthesisRefused("api_key_invalid", exc.message)
        case openai.RateLimitError():
            if _is_quota(exc):
                return SynthesisRefused("api_quota_exhausted", exc.message)
            return SynthesisPassing("api_rate_limited", exc.message, retry_after_s(exc.response.headers))
        case openai.APIConnectionError():
            return SynthesisPassing("connection_lost", exc.message)
        case openai.InternalServerError():
            return SynthesisPassing("connection_lost", exc.message, retry_after_s(exc.response.headers))
        case _:
            return SynthesisRefused("synthesis_failed", str(exc))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds of a `Retry-After`; None without one, or when it names a date."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _is_quota(exc: openai.RateLimitError) -> bool:
    return "insufficient_quota" in (exc.code, exc.type)
