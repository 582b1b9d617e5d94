"""Extractive outputs, without a language model: selected and ordered sentences of the source.

It never invents a sentence; if it finds nothing, the output states that.
"""

from collections.abc import Iterator
from typing import Final

from smelt.processor.synthesis.extracts import EXTRACTS, Analysis, transcript
from smelt.processor.synthesis.prompts import default_prompts
from smelt.processor.synthesis.request import SynthesisInput, SynthesisRequest

_OWN_PROMPT: Final = (
    "_Your own prompts need a language model, and this worker runs without one. The transcript follows._"
)


def outputs(source: SynthesisInput, request: SynthesisRequest) -> Iterator[str]:
    """Yield the output of each prompt, in their order; without prompts, the transcript. The source has sentences."""
    analysis = Analysis(source)
    prompts = default_prompts(request)
    for prompt in prompts:
        yield EXTRACTS[prompt.name](analysis)
    if request.user_prompt is not None:
        yield f"{_OWN_PROMPT}\n\n{transcript(analysis)}"
    elif not prompts:
        yield transcript(analysis)
