"""Extractive outputs are made in children, whose deaths are those of one output."""

import asyncio
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from smelt.processor.errors import ChildKilled, ChildUnusable, SynthesisPermanentError
from smelt.processor.synthesis.extractive import outputs
from smelt.processor.synthesis.extractor import ExtractiveSynthesizer, Extractor
from smelt.processor.synthesis.request import NO_SPEECH, SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import sentences_of_text
from tests.harness.patched_children import PatchedChildren
from tests.harness.processes import assert_ended, started_by_workers
from tests.harness.waiting import until
from tests.unit.processor.synthesis.rendering import render

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
real = module.outputs
def outputs(source, request):
    count = record("outputs")
    {action}
    yield from real(source, request)
module.outputs = outputs
"""


async def started_children(count: int) -> list[psutil.Process]:
    """Wait for so many children, and return them."""
    await until(lambda: len(started_by_workers()) == count)
    return started_by_workers()


@pytest.fixture
async def extractor() -> AsyncIterator[Extractor]:
    """Make outputs in children, which end with the test."""
    made = Extractor()
    yield made
    await made.aclose()
    assert_ended(started_by_workers())


async def test_output_of_a_child_equals_that_of_this_process(extractor: Extractor) -> None:
    long = SynthesisInput(filename="x", language="ru", sentences=sentences_of_text("Анна платит по счёту. " * 20_000))
    for source in (SOURCE, long):
        assert await extractor.extract(source, REQUEST) == render(source, REQUEST)


async def test_output_without_sentences_needs_no_child(extractor: Extractor) -> None:
    silent = SynthesisInput(filename="x", language="en", sentences=())
    assert await extractor.extract(silent, REQUEST) == NO_SPEECH
    assert started_by_workers() == []


async def test_crash_is_retried_once(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="count == 1 and os.kill(os.getpid(), signal.SIGSEGV)"), "extract")
    assert await extractor.extract(SOURCE, REQUEST) == render(SOURCE, REQUEST)
    assert children.calls == ["outputs"] * 2


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
    assert children.calls == ["outputs"] * 2


async def test_hang_fails_the_output(children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="time.sleep(1000)"), "extract")
    extractor = Extractor(timeout_s=0.5)
    with pytest.raises(SynthesisPermanentError, match="timeout"):
        await extractor.extract(SOURCE, REQUEST)
    assert_ended(started_by_workers())


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


async def test_killed_child_is_not_the_fault_of_the_source(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="os.kill(os.getpid(), signal.SIGKILL)"), "extract")
    with pytest.raises(ChildKilled):
        await extractor.extract(SOURCE, REQUEST)
    assert children.calls == ["outputs"]


async def test_child_that_does_not_start_is_the_fault_of_the_machine() -> None:
    with pytest.raises(ChildUnusable):
        await Extractor("smelt.no_such_module").extract(SOURCE, REQUEST)


async def test_dead_child_that_was_started_ahead_is_replaced(extractor: Extractor) -> None:
    extractor.prestart()
    [child] = await started_children(1)
    child.kill()
    child.wait()
    assert await extractor.extract(SOURCE, REQUEST) == render(SOURCE, REQUEST)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each output has a new child")
async def test_output_is_made_by_a_copy_of_the_child(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="record(os.getpid())"), "extract")
    for _ in range(2):
        await extractor.extract(SOURCE, REQUEST)
    [child] = started_by_workers()
    pids = {call for call in children.calls if call != "outputs"}
    assert len(pids) == 2
    assert str(child.pid) not in pids
    assert_ended(child.children())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each output has a new child")
async def test_copy_of_the_child_ends_with_it(children: PatchedChildren, extractor: Extractor) -> None:
    children.run(PATCHED.format(action="time.sleep(1000)"), "extract")
    task = asyncio.create_task(extractor.extract(SOURCE, REQUEST))
    await until(lambda: children.calls)
    [child] = started_by_workers()
    [copy] = child.children()
    # Not its group, as the worker does.
    child.kill()
    assert_ended([copy])
    with pytest.raises(ChildKilled):
        await task


async def test_synthesizer_keeps_a_child_until_it_is_closed() -> None:
    synthesizer, shares = ExtractiveSynthesizer(), list[float]()
    synthesizer.prestart()
    await started_children(1)
    written: list[tuple[int, str, bool]] = []
    content = await synthesizer.synthesize(SOURCE, REQUEST, shares.append, lambda *output: written.append(output))
    assert content == render(SOURCE, REQUEST)
    summary, pairs = outputs(SOURCE, REQUEST)
    assert written == [(0, "", False), (0, summary, True), (1, "", False), (1, pairs, True)]
    assert shares == [1.0]
    await synthesizer.aclose()
    synthesizer.prestart()
    assert_ended(started_by_workers())


async def test_output_is_returned_before_the_next_is_made(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(
        """
import time
import smelt.processor.synthesis.extractive as module
def outputs(source, request):
    yield "first"
    time.sleep(1000)
module.outputs = outputs
""",
        "extract",
    )
    written: list[tuple[int, str, bool]] = []
    task = asyncio.create_task(extractor.extract(SOURCE, REQUEST, lambda *output: written.append(output)))
    await until(lambda: written[-1:] == [(1, "", False)])
    assert written == [(0, "", False), (0, "first", True), (1, "", False)]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_outputs_of_several_smelts_are_made_one_after_the_other(extractor: Extractor) -> None:
    made = await asyncio.gather(*(extractor.extract(SOURCE, REQUEST) for _ in range(5)))
    assert made == [render(SOURCE, REQUEST)] * 5


async def test_cancelled_output_leaves_no_process(extractor: Extractor, children: PatchedChildren) -> None:
    children.run(PATCHED.format(action="time.sleep(1000)"), "extract")
    task = asyncio.create_task(extractor.extract(SOURCE, REQUEST))
    await until(lambda: children.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_ended(started_by_workers())
