"""Outputs without a language model: nothing but what was said, chosen and put in order.

It never invents a sentence, and where it finds nothing it says so.
"""

import asyncio
from typing import Final

from smelt.processor.synthesis.extracts import Reading, transcript
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.prompts import default_prompts
from smelt.processor.synthesis.request import OnShare, SynthesisInput, SynthesisRequest

NO_SPEECH: Final = "_No speech was found._"
_OWN_PROMPT: Final = (
    "_A prompt of your own needs a language model; this worker runs without one. Here is the transcript._"
)


class ExtractiveSynthesizer:
    """Chooses and orders sentences of the source; deterministic, offline."""

    typical_s: Final = 0.3

    async def synthesize(self, source: SynthesisInput, order: SynthesisRequest, on_share: OnShare) -> str:
        """The output for one source, made in a thread."""
        content = await asyncio.to_thread(render, source, order)
        on_share(1.0)
        return content

    async def aclose(self) -> None:
        """Nothing is held."""


def render(source: SynthesisInput, order: SynthesisRequest) -> str:
    """Every prompt of the order over one source; several get a heading each, none gives the transcript."""
    if not source.sentences:
        return NO_SPEECH
    reading = Reading(source)
    parts = [(prompt.title, prompt.extract(reading)) for prompt in default_prompts(order)]
    if order.user_prompt is not None:
        parts.append((order.user_prompt.name, f"{_OWN_PROMPT}\n\n{transcript(reading)}"))
    if not parts:
        return transcript(reading)
    if len(parts) == 1:
        return parts[0][1]
    return "\n\n".join(f"{heading(2, title)}\n\n{body}" for title, body in parts)
