"""Outputs by a language model; a transcript that exceeds one request is condensed to notes, part by part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from smelt.processor.errors import SynthesisPermanentError
from smelt.processor.synthesis.extractor import Extractor
from smelt.processor.synthesis.llm import instructions
from smelt.processor.synthesis.llm.budget import parts, transcript_bytes, typing_share
from smelt.processor.synthesis.llm.citations import Citations
from smelt.processor.synthesis.llm.endpoint import Endpoint, EndpointOptions
from smelt.processor.synthesis.llm.instructions import Message, Task
from smelt.processor.synthesis.prompts import joined
from smelt.processor.synthesis.request import OnOutput, OnShare, SynthesisInput, SynthesisRequest, ignore_output
from smelt.processor.synthesis.sentences import Sentence

_EXPECTED_CHARACTERS: Final = 1500
_MAX_CONTINUATIONS: Final = 8
_MAX_CONDENSATIONS: Final = 4


class GenerativeSynthesizer:
    """Requests each prompt from a language model; a long transcript is never truncated."""

    typical_s: Final = 10.0

    def __init__(self, options: EndpointOptions) -> None:
        self._endpoint = Endpoint(options)
        # For requests without a prompt.
        self._extractor = Extractor()
        self._context_tokens = options.context_tokens

    def prestart(self) -> None:
        """Do nothing: the endpoint is elsewhere."""

    async def synthesize(
        self,
        source: SynthesisInput,
        request: SynthesisRequest,
        on_share: OnShare,
        on_output: OnOutput = ignore_output,
    ) -> str:
        """Return the output for one source; several prompts get a heading each."""
        citations = Citations(sentence.start_s for sentence in source.sentences)
        tasks = instructions.tasks_of(request, has_times=citations.exist)
        if not source.sentences or not tasks:
            return await self._extractor.extract(source, request)
        outputs: list[str] = []
        for number, task in enumerate(tasks):
            if task.key not in source.saved_outputs:
                on_output(number, "", False)
                on_text = _partial_output(on_output, number)
                work = _Work(task, citations, _NoteCache(task, source.saved_outputs), on_text)
                output = await self._write(work, source.sentences, _partial_share(on_share, number, len(tasks)))
                source.saved_outputs[task.key] = output
                work.cache.discard()
            outputs.append(source.saved_outputs[task.key])
            on_output(number, outputs[-1], True)
            on_share((number + 1) / len(tasks))
        return joined(request, outputs)

    async def aclose(self) -> None:
        """Close the connections to the endpoint."""
        await self._endpoint.aclose()
        await self._extractor.aclose()

    async def _write(self, work: "_Work", sentences: Sequence[Sentence], on_share: OnShare) -> str:
        pieces = self._parts(work.task, instructions.spoken_texts(sentences))
        if len(pieces) == 1:
            return await self._complete(work, instructions.whole(work.task, pieces[0]), on_share, work.on_text)
        # Each part is read alone.
        pieces = self._parts(work.task, instructions.spoken_texts(sentences, names_all=True))
        steps = len(pieces) + 1
        notes = [
            await self._take_notes(work, piece, number + 1, len(pieces), _partial_share(on_share, number, steps))
            for number, piece in enumerate(pieces)
        ]
        messages = instructions.from_notes(work.task, await self._condense(work, notes))
        return await self._complete(work, messages, _partial_share(on_share, steps - 1, steps), work.on_text)

    async def _condense(self, work: "_Work", notes: list[str]) -> list[str]:
        for _ in range(_MAX_CONDENSATIONS):
            pieces = self._parts(work.task, notes)
            if len(pieces) == 1:
                return notes
            notes = [
                await self._take_notes(work, piece, number, len(pieces), _ignore_share)
                for number, piece in enumerate(pieces, start=1)
            ]
        raise SynthesisPermanentError("synthesis_failed", "the notes of all parts do not fit into the context")

    async def _take_notes(self, work: "_Work", piece: str, number: int, count: int, on_share: OnShare) -> str:
        messages = instructions.notes(work.task, piece, number, count)
        if (notes := work.cache.get(messages)) is None:
            notes = work.cache.put(messages, await self._complete(work, messages, on_share))
        return notes

    def _parts(self, task: Task, texts: Sequence[str]) -> list[str]:
        return parts(texts, transcript_bytes(self._context_tokens, task.instruction))

    async def _complete(
        self,
        work: "_Work",
        messages: tuple[Message, ...],
        on_share: OnShare,
        on_text: Callable[[str], None] = lambda _text: None,
    ) -> str:
        text = ""
        for _ in range(_MAX_CONTINUATIONS):
            cut = False
            conversation = instructions.continued(messages, text) if text else messages
            async for piece in self._endpoint.stream_completion(conversation):
                # Postgres text can't contain NUL.
                text += piece.text.replace("\0", "")
                cut = cut or piece.cut
                on_share(typing_share(len(text), _EXPECTED_CHARACTERS))
                on_text(text)
            if not cut:
                break
        else:
            raise SynthesisPermanentError("synthesis_failed", "the response does not end")
        text = work.citations.checked(text).strip()
        if not text:
            raise SynthesisPermanentError("synthesis_failed", "the response is empty")
        return text


class _NoteCache:
    """The notes for one task among the saved outputs; discarded once its output is complete."""

    def __init__(self, task: Task, saved_outputs: dict[str, str]) -> None:
        self.task = task
        self._saved_outputs = saved_outputs

    def get(self, messages: tuple[Message, ...]) -> str | None:
        return self._saved_outputs.get(self._key(messages))

    def put(self, messages: tuple[Message, ...], notes: str) -> str:
        self._saved_outputs[self._key(messages)] = notes
        return notes

    def discard(self) -> None:
        for key in [key for key in self._saved_outputs if key.startswith(f"{self.task.key}/")]:
            del self._saved_outputs[key]

    def _key(self, messages: tuple[Message, ...]) -> str:
        return f"{self.task.key}/{instructions.key_of(messages[-1].content)}"


@dataclass(frozen=True)
class _Work:
    """An output that is being written."""

    task: Task
    citations: Citations
    cache: _NoteCache
    on_text: Callable[[str], None]


def _partial_share(on_share: OnShare, number: int, count: int) -> Callable[[float], None]:
    return lambda share: on_share((number + share) / count)


def _partial_output(on_output: OnOutput, number: int) -> Callable[[str], None]:
    return lambda text: on_output(number, text, False)


def _ignore_share(_share: float) -> None:
    return None
