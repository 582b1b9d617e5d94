"""The event loop thread runs coroutines for synchronous code, which may be interrupted at any instruction."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from itertools import count
from types import FrameType
from typing import Any

import pytest

from smelt.errors import PermanentError
from smelt.loop_thread import EventLoopThread


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(number)
    return 2 * number


async def running() -> int:
    return len(asyncio.all_tasks())


def is_interrupted(work: Callable[[], object], at: int) -> bool:
    """Run `work` with `KeyboardInterrupt` before its n-th instruction; return False if `work` ends earlier."""
    codes = {work.__code__, EventLoopThread.run.__code__}
    left = at

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_interrupt_at_any_instruction_ends_the_coroutine() -> None:
    """Python warns about a coroutine that was never awaited, and the test treats warnings as errors."""
    thread = EventLoopThread()

    def work() -> None:
        thread.run(double, 21)

    for at in count(1):
        if not is_interrupted(work, at):
            break
        while thread.run(running) > 1:
            pass
    assert at > 10
    thread.close()


def test_interrupt_cancels_the_awaited_coroutine() -> None:
    thread = EventLoopThread()
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        thread.run(wait)
    assert cancelled.wait(30)
    thread.close()


def test_loop_thread_returns_results_and_errors_and_rejects_when_closed() -> None:
    thread = EventLoopThread()
    assert thread.run(double, 21) == 42
    with pytest.raises(ValueError, match="-1"):
        thread.run(double, -1)
    assert thread.ask(threading.current_thread).name == "smelt"
    thread.close()
    with pytest.raises(PermanentError):
        thread.run(double, 1)


def test_close_ends_the_call_of_another_thread() -> None:
    thread = EventLoopThread()
    has_begun, has_ended = threading.Event(), threading.Event()

    async def wait_forever() -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(thread.run, wait_forever)
        assert has_begun.wait(10)
        thread.close()
        assert has_ended.is_set()
        with pytest.raises(PermanentError, match="the client is closed"):
            waiting.result(10)
    with pytest.raises(PermanentError, match="the client is closed"):
        thread.run(wait_forever)


def test_function_in_another_thread_may_close_the_loop() -> None:
    thread = EventLoopThread()
    closing: Future[str] = Future()

    def close() -> None:
        thread.close()
        closing.set_result(threading.current_thread().name)

    with pytest.raises(PermanentError, match="the client is closed"):
        thread.run(thread.call_in_thread, close)
    assert closing.result(10) != "smelt"
    assert thread.closed


def test_function_in_another_thread_runs_in_the_context_of_the_call() -> None:
    thread = EventLoopThread()
    name: ContextVar[str] = ContextVar("name")
    name.set("of the call")
    assert thread.run(thread.call_in_thread, name.get) == "of the call"
    thread.close()
