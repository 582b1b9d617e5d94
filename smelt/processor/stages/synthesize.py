"""Stage `synthesizing`: from transcripts to results."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from smelt.contract.events import Output, Result
from smelt.contract.work import Claim
from smelt.processor.stages.stage import Stage
from smelt.processor.state import FileWork, SmeltState, output_count
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.plain import paragraphs, paragraphs_of_text
from smelt.processor.synthesis.prompts import titles_of
from smelt.processor.synthesis.request import SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import sentences_of_segments, sentences_of_text

COMBINED_NAME = "combined.md"
_MIN_LANGUAGE_SHARE: Final = 0.05


class Synthesize(Stage):
    """Makes the outputs of all files; without a prompt, the transcript is the result."""

    name = "synthesizing"

    @property
    def files(self) -> list[FileWork]:
        """All files that have not failed."""
        return self.job.state.live_files

    def weight(self, _file: FileWork) -> float:
        """Return the same weight for each file."""
        return 1.0

    def remaining_s(self) -> float | None:
        """Return the estimated seconds for the remaining outputs."""
        state, services = self.job.state, self.job.services
        if not has_prompts(state.claim):
            return 0.0
        has_begun = state.stage == self.name
        count = output_count(state.claim) * sum(1 - file.share if has_begun else 1 for file in self.files)
        output_s = services.speed.output_s
        return count * (services.synthesizer.typical_s if output_s is None else output_s)

    @property
    def begins_at_once(self) -> bool:
        """True if a place is free, or none is needed."""
        return not has_prompts(self.job.state.claim) or not self.job.services.synthesis_slots.locked()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until fewer than two other smelts are making outputs."""
        if not has_prompts(self.job.state.claim):
            yield
            return
        async with self.job.services.synthesis_slots:
            yield

    async def run(self, file: FileWork) -> None:
        """Make the outputs of a file, and set its result."""
        state, services = self.job.state, self.job.services
        if file.transcribed and file.recording is None:  # Transcribed by an earlier attempt or run.
            file.segments = list(await services.calls.load_segments(state.claim.id, file.id))
        content = await self._outputs(file) if has_prompts(state.claim) else _transcript(file, state)
        state.advance(file, 1.0)
        file.result = Result(file_id=file.id, filename=file.claimed.filename, content=content)

    async def _outputs(self, file: FileWork) -> str:
        state, services = self.job.state, self.job.services
        request = SynthesisRequest(
            prompts=state.claim.default_prompt_names,
            user_prompt=state.claim.user_prompt,
            vocabulary=state.options.vocabulary,
        )
        titles = titles_of(request)

        def write(position: int, content: str, is_complete: bool) -> None:
            output = Output(
                file_id=file.id, position=position, title=titles[position], content=content, is_complete=is_complete
            )
            state.write_output(file, output)

        started_s, was_started = time.monotonic(), bool(file.outputs)
        content = await services.synthesizer.synthesize(
            _source(file, state),
            request,
            on_share=lambda share: state.advance(file, share),
            on_output=write,
        )
        if not was_started:
            services.speed.add_outputs(output_count(state.claim), time.monotonic() - started_s)
        return content


def combined(state: SmeltState) -> tuple[Result, ...]:
    """Return the results of a smelt: one for each file that has not failed, or a single one in mode `combine`."""
    results = tuple(file.result for file in state.live_files if file.result is not None)
    if state.claim.mode != "combine" or not results:
        return results
    content = "\n\n".join(f"{heading(1, result.filename)}\n\n{result.content}" for result in results)
    return (Result(file_id=state.claim.id, filename=COMBINED_NAME, content=content),)


def has_prompts(claim: Claim) -> bool:
    """Return True unless the transcript is all that was requested."""
    return output_count(claim) > 0


def _transcript(file: FileWork, state: SmeltState) -> str:
    if file.claimed.input_type == "text":
        return paragraphs_of_text(state.claim.text_input or "")
    return paragraphs(file.segments)


def _source(file: FileWork, state: SmeltState) -> SynthesisInput:
    is_text = file.claimed.input_type == "text"
    sentences = sentences_of_text(state.claim.text_input or "") if is_text else sentences_of_segments(file.segments)
    is_translated = state.options.task == "translate"
    return SynthesisInput(
        filename=file.claimed.filename,
        language="en" if is_translated else file.language,
        other_languages=() if is_translated else _languages_of(file),
        sentences=sentences,
        saved_outputs=file.outputs,
    )


def _languages_of(file: FileWork) -> tuple[str, ...]:
    """Return the languages with a share of the text that is not just a window in the wrong language."""
    seconds = (file.checkpoint or file.saved_checkpoint).findings.languages
    return tuple(code for code in seconds if seconds[code] >= _MIN_LANGUAGE_SHARE * sum(seconds.values()))
