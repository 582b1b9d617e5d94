"""Extractive outputs, without a language model: selected and ordered sentences of the source.

It never invents a sentence; if it finds nothing, the output states that.
"""

from typing import Final

from smelt.processor.synthesis.extracts import EXTRACTS, Analysis, transcript
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.prompts import default_prompts
from smelt.processor.synthesis.request import NO_SPEECH, SynthesisInput, SynthesisRequest

_OWN_PROMPT: Final = (
    "_Your own prompts need a language model, and this worker runs without one. The transcript follows._"
)


def render(source: SynthesisInput, request: SynthesisRequest) -> str:
    """Return the output of all prompts, several with a heading each; without prompts, the transcript."""
    if not source.sentences:
        return NO_SPEECH
    analysis = Analysis(source)
    parts = [(prompt.title, EXTRACTS[prompt.name](analysis)) for prompt in default_prompts(request)]
    if request.user_prompt is not None:
        parts.append((request.user_prompt.name, f"{_OWN_PROMPT}\n\n{transcript(analysis)}"))
    if not parts:
        return transcript(analysis)
    if len(parts) == 1:
        return parts[0][1]
    return "\n\n".join(f"{heading(2, title)}\n\n{body}" for title, body in parts)
