"""Synthesizing: from transcripts to results."""

import logging
import time

from smelt.contract.events import Result
from smelt.contract.work import Claim
from smelt.processor.state import FileWork, SmeltState
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.sentences import sentences_of_segments, sentences_of_text
from smelt.processor.synthesis.source import Order, Source
from smelt.processor.tools import Tools

logger = logging.getLogger(__name__)

COMBINED_NAME = "combined.md"


async def write(state: SmeltState, tools: Tools) -> tuple[Result, ...]:
    """The results of a smelt: one for each file that is left, or a single one in mode `combine`."""
    claim = state.claim
    order = Order(prompts=claim.default_prompt_names, user_prompt=claim.user_prompt)
    results = [await _result(file, order, state, tools) for file in state.live_files]
    if claim.mode != "combine":
        return tuple(results)
    content = "\n\n".join(f"{heading(1, result.filename)}\n\n{result.content}" for result in results)
    return (Result(file_id=claim.id, filename=COMBINED_NAME, content=content),)


def output_count(claim: Claim) -> int:
    """How many outputs each file of a smelt gets."""
    return max(1, len(claim.default_prompt_names) + (claim.user_prompt is not None))


async def _result(file: FileWork, order: Order, state: SmeltState, tools: Tools) -> Result:
    began_s, is_begun = time.monotonic(), bool(file.outputs)
    content = await tools.synthesizer.synthesize(_source(file, state), order, lambda share: state.advance(file, share))
    state.advance(file, 1.0)
    if not is_begun:
        tools.pace.wrote(output_count(state.claim), time.monotonic() - began_s)
    return Result(file_id=file.id, filename=file.claimed.filename, content=content)


def _source(file: FileWork, state: SmeltState) -> Source:
    is_text = file.claimed.input_type == "text"
    sentences = sentences_of_text(state.claim.text_input or "") if is_text else sentences_of_segments(file.segments)
    return Source(filename=file.claimed.filename, language=file.language, sentences=sentences, written=file.outputs)
