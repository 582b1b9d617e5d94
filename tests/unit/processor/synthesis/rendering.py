"""Extractive outputs without the child that makes them."""

from smelt.processor.synthesis.extractive import outputs
from smelt.processor.synthesis.prompts import joined
from smelt.processor.synthesis.request import NO_SPEECH, SynthesisInput, SynthesisRequest


def render(source: SynthesisInput, request: SynthesisRequest) -> str:
    """Return the output of all prompts, as a worker joins them."""
    return joined(request, list(outputs(source, request))) if source.sentences else NO_SPEECH
