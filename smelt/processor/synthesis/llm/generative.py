"""Outputs by a language model; what does not fit into one request is noted part by part first."""

from collections.abc import Callable, Sequence
from typing import Final

from smelt.processor.errors import SynthesisPermanentError
from smelt.processor.synthesis.extractive import NO_SPEECH, render
from smelt.processor.synthesis.llm import instructions
from smelt.processor.synthesis.llm.budget import parts, transcript_bytes, typing_share
from smelt.processor.synthesis.llm.endpoint import Endpoint, EndpointOptions
from smelt.processor.synthesis.llm.instructions import Message, Task
from smelt.processor.synthesis.markdown import heading
from smelt.processor.synthesis.request import OnShare, SynthesisInput, SynthesisRequest

_EXPECTED_CHARACTERS: Final = 1500
_MAX_CONTINUATIONS: Final = 8
_MAX_ROUNDS: Final = 4


class GenerativeSynthesizer:
    """Asks a language model for each prompt; nothing of a transcript is left out for its length."""

    typical_s: Final = 10.0

    def __init__(self, options: EndpointOptions) -> None:
        self._endpoint = Endpoint(options)
        self._context_tokens = options.context_tokens

    async def synthesize(self, source: SynthesisInput, order: SynthesisRequest, on_share: OnShare) -> str:
        """The output for one source; several prompts get a heading each."""
        tasks = instructions.tasks_of(order)
        if not source.sentences or not tasks:
            return NO_SPEECH if not source.sentences else render(source, order)
        texts, outputs = [sentence.text for sentence in source.sentences], list[str]()
        for number, task in enumerate(tasks):
            if task.key not in source.written:
                notebook = _Notebook(task, source.written)
                output = await self._do(task, texts, notebook, _within(on_share, number, len(tasks)))
                source.written[task.key] = output
                notebook.discard()
            outputs.append(source.written[task.key])
            on_share((number + 1) / len(tasks))
        if len(tasks) == 1:
            return outputs[0]
        return "\n\n".join(f"{heading(2, task.title)}\n\n{output}" for task, output in zip(tasks, outputs, strict=True))

    async def aclose(self) -> None:
        """Close the connections to the endpoint."""
        await self._endpoint.aclose()

    async def _do(self, task: Task, texts: Sequence[str], notebook: "_Notebook", on_share: OnShare) -> str:
        pieces = self._parts(task, texts)
        if len(pieces) == 1:
            return await self._ask(instructions.whole(task, pieces[0]), on_share)
        steps = len(pieces) + 1
        taken = [
            await self._note(notebook, piece, number + 1, len(pieces), _within(on_share, number, steps))
            for number, piece in enumerate(pieces)
        ]
        taken = await self._condensed(task, taken, notebook)
        return await self._ask(instructions.from_notes(task, taken), _within(on_share, steps - 1, steps))

    async def _condensed(self, task: Task, taken: list[str], notebook: "_Notebook") -> list[str]:
        for _ in range(_MAX_ROUNDS):
            pieces = self._parts(task, taken)
            if len(pieces) == 1:
                return taken
            taken = [
                await self._note(notebook, piece, number, len(pieces), _unheard)
                for number, piece in enumerate(pieces, start=1)
            ]
        raise SynthesisPermanentError("synthesis_failed", "the notes of all parts do not fit into the context")

    async def _note(self, notebook: "_Notebook", piece: str, number: int, count: int, on_share: OnShare) -> str:
        messages = instructions.notes(notebook.task, piece, number, count)
        if (taken := notebook.find(messages)) is None:
            taken = notebook.keep(messages, await self._ask(messages, on_share))
        return taken

    def _parts(self, task: Task, texts: Sequence[str]) -> list[str]:
        return parts(texts, transcript_bytes(self._context_tokens, task.instruction))

    async def _ask(self, messages: tuple[Message, ...], on_share: OnShare) -> str:
        written = ""
        for _ in range(_MAX_CONTINUATIONS):
            cut = False
            conversation = instructions.continued(messages, written) if written else messages
            async for piece in self._endpoint.answer(conversation):
                written += piece.text
                cut = cut or piece.cut
                on_share(typing_share(len(written), _EXPECTED_CHARACTERS))
            if not cut:
                break
        else:
            raise SynthesisPermanentError("synthesis_failed", "the answer has no end")
        if not written.strip():
            raise SynthesisPermanentError("synthesis_failed", "the answer is empty")
        # Postgres has no text with NUL in it.
        return written.replace("\0", "").strip()


class _Notebook:
    """The notes for one task among what is written; of no use once its output is there."""

    def __init__(self, task: Task, written: dict[str, str]) -> None:
        self.task = task
        self._written = written

    def find(self, messages: tuple[Message, ...]) -> str | None:
        return self._written.get(self._key(messages))

    def keep(self, messages: tuple[Message, ...], taken: str) -> str:
        self._written[self._key(messages)] = taken
        return taken

    def discard(self) -> None:
        for key in [key for key in self._written if key.startswith(f"{self.task.key}/")]:
            del self._written[key]

    def _key(self, messages: tuple[Message, ...]) -> str:
        return f"{self.task.key}/{instructions.key_of(messages[-1].content)}"


def _within(on_share: OnShare, number: int, count: int) -> Callable[[float], None]:
    return lambda share: on_share((number + share) / count)


def _unheard(_share: float) -> None:
    return None
