"""Extractive outputs are made in children, whose deaths are those of one output."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest
from patched_children import PatchedChildren
from processes import assert_ended

from smelt.processor.errors import ChildKilled, ChildUnusable, SynthesisPermanentError
from smelt.processor.synthesis.extractive import render
from smelt.processor.synthesis.extractor import ExtractiveSynthesizer, Extractor
from smelt.processor.synthesis.request import NO_SPEECH, SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import sentences_of_text

REQUEST = SynthesisRequest(prompts=("summarize", "qa_format"), user_prompt=None)
SOURCE = SynthesisInput(
    filename="x",
    language="en",
    sentences=sentences_of_text("Who pays? Anna pays the invoice. " * 20),
    saved_outputs={"key": "saved"},
)
PATCHED = """
import os, signal, time
import smelt.processor.synthesis.extractive as module
real = module.render
def render(source, request):
    count = record("render")
    {action}
    return real(source, request)
module.render = render
"""


@pytest.fixture
async def extractor() -> AsyncIterator[Extractor]:
    """Make outputs in children, which end with the test."""
    made = Extractor()
    yield made
    await made.aclose()
    assert_ended(psutil.Process().children())


async def test_output_of_a_child_equals_that_of_this_process(extractor: Extractor) -> None:
    long = SynthesisInput(filename="x", language="ru", sentences=sentences_of_text("Анна платит по счёту. " * 20_000))
    for source in (SOURCE, long):
        assert await extractor.extract(source, REQUEST) == render(source, REQUEST)


async def test_output_without_sentences_needs_no_child(extractor: Extractor) -> None:
    silent = SynthesisInput(filename="x", language="en", sentences=())
    assert await extractor.extract(silent, REQUEST) == NO_SPEECH
    assert psutil.Process().children() == []


async def test_crash_is_retried_once(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="count == 1 and os.kill(os.getpid(), signal.SIGSEGV)"), "extract")
    assert await extractor.extract(SOURCE, REQUEST) == render(SOURCE, REQUEST)
    assert children.calls == ["render"] * 2


@pytest.mark.parametrize(
    ("action", "detail"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise KeyError('x')", "exited with 1"),
        ("bytearray(3 * 1024**3)", "exited with 1"),
        ("__import__('tempfile').TemporaryFile(buffering=0).write(b'x')", "exited with 1"),
        ("signal.raise_signal(signal.SIGXCPU)", "SIGXCPU"),
    ],
)
async def test_second_death_fails_the_output(
    action: str, detail: str, extractor: Extractor, children: PatchedChildren
) -> None:
    children.run(PATCHED.format(action=action), "extract")
    with pytest.raises(SynthesisPermanentError, match=detail) as error:
        await extractor.extract(SOURCE, REQUEST)
    assert error.value.code == "synthesis_failed"
    assert children.calls == ["render"] * 2


async def test_hang_fails_the_output(children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="time.sleep(1000)"), "extract")
    extractor = Extractor(timeout_s=0.5)
    with pytest.raises(SynthesisPermanentError, match="timeout"):
        await extractor.extract(SOURCE, REQUEST)
    assert_ended(psutil.Process().children())


async def test_unexpected_message_fails_the_output(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(
        """
import smelt.processor.children.texts as module
module.messages_of = lambda text: [{"type": "other"}]
""",
        "extract",
    )
    with pytest.raises(SynthesisPermanentError, match="not a part of a text"):
        await extractor.extract(SOURCE, REQUEST)


async def test_killed_child_says_nothing_about_the_source(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="os.kill(os.getpid(), signal.SIGKILL)"), "extract")
    with pytest.raises(ChildKilled):
        await extractor.extract(SOURCE, REQUEST)
    assert children.calls == ["render"]


async def test_child_that_does_not_start_is_the_fault_of_the_machine() -> None:
    with pytest.raises(ChildUnusable):
        await Extractor("smelt.no_such_module").extract(SOURCE, REQUEST)


async def test_dead_child_that_was_started_ahead_is_replaced(extractor: Extractor) -> None:
    extractor.prestart()
    assert extractor._ahead is not None
    child = await extractor._ahead
    os.kill(child.pid, signal.SIGKILL)
    await child.dying
    assert await extractor.extract(SOURCE, REQUEST) == render(SOURCE, REQUEST)


async def test_child_is_started_ahead_for_each_output() -> None:
    synthesizer = ExtractiveSynthesizer()
    synthesizer.prestart()
    extractor, shares = synthesizer._extractor, list[float]()
    assert extractor._ahead is not None
    first = await extractor._ahead
    assert await synthesizer.synthesize(SOURCE, REQUEST, shares.append) == render(SOURCE, REQUEST)
    assert shares == [1.0]
    assert_ended([psutil.Process(first.pid)] if psutil.pid_exists(first.pid) else [])
    assert extractor._ahead is not None
    next_one = await extractor._ahead
    assert next_one.pid != first.pid
    await synthesizer.aclose()
    assert next_one.dying.done()
    synthesizer.prestart()
    assert extractor._ahead is None


async def test_cancelled_output_leaves_no_process(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="time.sleep(1000)"), "extract")
    task = asyncio.create_task(extractor.extract(SOURCE, REQUEST))
    async with asyncio.timeout(60):
        while not children.calls:  # noqa: ASYNC110 - A file sets no event.
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_ended(psutil.Process().children())
