"""The input of a synthesis, and the interface of synthesizers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import TypeAdapter

from smelt.contract.work import UserPrompt
from smelt.processor.synthesis.sentences import Sentence

NO_SPEECH: Final = "_No speech was found._"
"""The output for a source without sentences."""

OnShare = Callable[[float], None]
"""Receives the share of the work that is done, 0 to 1."""

OnOutput = Callable[[int, str, bool], None]
"""Receives the position of an output, from 0, its text so far, and whether it is complete."""


def ignore_output(_position: int, _content: str, _is_complete: bool) -> None:
    """Ignore an output."""


@dataclass(frozen=True, kw_only=True)
class SynthesisInput:
    """One transcript, or one text.

    `saved_outputs` holds outputs that are already generated, by keys of the synthesizer. The synthesizer adds to them,
    and they are saved with the next report.
    """

    filename: str
    language: str | None
    sentences: tuple[Sentence, ...]
    other_languages: tuple[str, ...] = ()
    saved_outputs: dict[str, str] = field(default_factory=dict)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the text, the main one first; empty if they are not known."""
        return () if self.language is None else tuple(dict.fromkeys((self.language, *self.other_languages)))


@dataclass(frozen=True, kw_only=True)
class SynthesisRequest:
    """The prompts to apply, and names and terms as they are spelled."""

    prompts: tuple[str, ...]
    user_prompt: UserPrompt | None
    vocabulary: tuple[str, ...] = ()


EXTRACTION: Final = TypeAdapter(tuple[SynthesisInput, SynthesisRequest])
"""The JSON with which a child makes an extractive output."""


class Synthesizer(Protocol):
    """Makes Markdown from a source; raises `SynthesisPermanentError` or `SynthesisTransientError`."""

    def prestart(self) -> None:
        """Prepare for the first output in the background."""

    @property
    def typical_s(self) -> float:
        """Seconds to expect for an output before one is measured."""

    async def synthesize(
        self,
        source: SynthesisInput,
        request: SynthesisRequest,
        on_share: OnShare,
        on_output: OnOutput = ignore_output,
    ) -> str:
        """Return the output for one source, with every prompt of the request."""

    async def aclose(self) -> None:
        """Release all resources."""
