"""What an output is made from, and the interface of what makes it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from smelt.contract.work import UserPrompt
from smelt.processor.synthesis.sentences import Sentence

OnShare = Callable[[float], None]
"""Told how much of the work is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class SynthesisInput:
    """One transcript, or one text.

    `written` is what an earlier attempt has written of its outputs, by keys of the synthesizer's; it adds to them, and
    they are saved with the next report.
    """

    filename: str
    language: str | None
    sentences: tuple[Sentence, ...]
    written: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SynthesisRequest:
    """What to make of it."""

    prompts: tuple[str, ...]
    user_prompt: UserPrompt | None


class Synthesizer(Protocol):
    """Makes Markdown out of a source; raises `SynthesisPermanentError` or `SynthesisTransientError`."""

    @property
    def typical_s(self) -> float:
        """Seconds to expect for an output before one was measured."""

    async def synthesize(self, source: SynthesisInput, order: SynthesisRequest, on_share: OnShare) -> str:
        """The output for one source, every prompt of the order in it."""

    async def aclose(self) -> None:
        """Free what it holds."""
