"""An event loop in a thread, for code without one."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from smelt.errors import PermanentError

P = ParamSpec("P")
T = TypeVar("T")


class EventLoopThread:
    """An event loop in its own thread; `run` may be called from any other thread, and Ctrl-C interrupts it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smelt", daemon=True)
        self._thread.start()
        # Not the loop's executor: a function may wait for work of the loop that needs a thread of that one. The number
        # of threads has no limit, since functions may wait for each other.
        self._functions = ThreadPoolExecutor(sys.maxsize, thread_name_prefix="smelt-function")
        self._pid = os.getpid()
        self._is_ending = self._has_ended = False
        self._running: set[Future[Any]] = set()

    @property
    def closed(self) -> bool:
        """True once the loop has ended."""
        return not self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """True in the thread of the loop, in which `run` would wait forever."""
        return threading.current_thread() is self._thread

    def run(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function in the loop and return its result; interrupting the call cancels the function."""
        if self._pid != os.getpid():
            raise PermanentError("the client was created in another process: call connect() after the fork")
        outcome: Future[T] = Future()
        try:
            self._running.add(outcome)
            self._call_soon(self._begin, partial(work, *args, **kwargs), outcome)
            return outcome.result()
        except BaseException:
            outcome.cancel()
            raise
        finally:
            self._running.discard(outcome)

    def ask(self, function: Callable[[], T]) -> T:
        """Call a plain function in the loop's thread and return its result; no task of the loop runs meanwhile."""

        async def call() -> T:
            return function()

        return self.run(call)

    def start(self, work: Callable[P, Coroutine[Any, Any, object]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call an async function in the loop without waiting for it; may be called from any thread."""
        self._call_soon(self._begin, partial(work, *args, **kwargs), Future())

    async def call_in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function in another thread and return its result; it may call `run` and `close`."""
        call = partial(copy_context().run, partial(function, *args, **kwargs))
        return await self._loop.run_in_executor(self._functions, call)

    def close(self) -> None:
        """End the loop and its thread; a call of another thread that has not returned raises `PermanentError`."""
        self.run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._has_ended = True
        # The loop runs no callback any more that would settle them.
        for outcome in list(self._running):
            _fail(outcome)
        self._loop.close()

    def _call_soon(self, callback: Callable[..., object], *args: object) -> None:
        if self._has_ended:
            raise _closed()
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError as exc:  # The loop was closed meanwhile.
            raise _closed() from exc

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]], outcome: Future[T]) -> None:
        # The coroutine is created in this thread, which no signal interrupts: elsewhere it might never be awaited.
        if self._is_ending:
            _fail(outcome)
        elif not outcome.cancelled():
            task = self._loop.create_task(work())
            outcome.add_done_callback(lambda _: self._loop.call_soon_threadsafe(task.cancel))
            task.add_done_callback(lambda _: self._settle(outcome, task))

    def _settle(self, outcome: Future[T], task: asyncio.Task[T]) -> None:
        if task.cancelled():
            _fail(outcome) if self._is_ending else outcome.cancel()
            return
        error = task.exception()
        if not outcome.set_running_or_notify_cancel():
            return  # The waiting thread was interrupted.
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    async def _end(self) -> None:
        """Begin nothing from now on, and wait for everything else of the loop, which is cancelled."""
        self._is_ending = True
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
        # Not awaited: one of these functions may have called `close`.
        self._functions.shutdown(wait=False, cancel_futures=True)


def _closed() -> PermanentError:
    return PermanentError("the client is closed")


def _fail(outcome: Future[Any]) -> None:
    if not outcome.done() and outcome.set_running_or_notify_cancel():
        outcome.set_exception(_closed())
