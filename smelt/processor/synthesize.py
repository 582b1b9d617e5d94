"""Stage `synthesizing`: from transcripts to results."""

import logging
import time

from smelt.contract.events import Result
from smelt.contract.work import Claim
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.request import SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import sentences_of_segments, sentences_of_text

logger = logging.getLogger(__name__)

COMBINED_NAME = "combined.md"


async def synthesize(state: SmeltState, services: WorkerServices) -> tuple[Result, ...]:
    """Return the results of a smelt: one for each file that has not failed, or a single one in mode `combine`."""
    claim = state.claim
    request = SynthesisRequest(prompts=claim.default_prompt_names, user_prompt=claim.user_prompt)
    results = [await _result(file, request, state, services) for file in state.live_files]
    if claim.mode != "combine":
        return tuple(results)
    content = "\n\n".join(f"{heading(1, result.filename)}\n\n{result.content}" for result in results)
    return (Result(file_id=claim.id, filename=COMBINED_NAME, content=content),)


def output_count(claim: Claim) -> int:
    """Return how many outputs each file of a smelt gets."""
    return max(1, len(claim.default_prompt_names) + (claim.user_prompt is not None))


async def _result(file: FileWork, request: SynthesisRequest, state: SmeltState, services: WorkerServices) -> Result:
    started_s, was_started = time.monotonic(), bool(file.outputs)
    content = await services.synthesizer.synthesize(
        _source(file, state), request, lambda share: state.advance(file, share)
    )
    state.advance(file, 1.0)
    if not was_started:
        services.speed.add_outputs(output_count(state.claim), time.monotonic() - started_s)
    return Result(file_id=file.id, filename=file.claimed.filename, content=content)


def _source(file: FileWork, state: SmeltState) -> SynthesisInput:
    is_text = file.claimed.input_type == "text"
    sentences = sentences_of_text(state.claim.text_input or "") if is_text else sentences_of_segments(file.segments)
    return SynthesisInput(
        filename=file.claimed.filename, language=file.language, sentences=sentences, saved_outputs=file.outputs
    )
