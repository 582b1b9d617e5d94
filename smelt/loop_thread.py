"""An event loop for code that has none."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from smelt.errors import PermanentError

P = ParamSpec("P")
T = TypeVar("T")


class EventLoopThread:
    """An event loop in a thread of its own; `run` may be called from any other thread, Ctrl-C interrupts it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smelt", daemon=True)
        self._thread.start()
        self._pid = os.getpid()

    @property
    def closed(self) -> bool:
        """True once nothing can be run any more."""
        return not self._thread.is_alive()

    def run(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function and wait for its result; it is cancelled when the wait is interrupted."""
        if self._pid != os.getpid():
            raise PermanentError("the client was made in another process: connect after the fork")
        if self.closed:
            raise PermanentError("the client is closed")
        outcome: Future[T] = Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, partial(work, *args, **kwargs), outcome)
            return outcome.result()
        except BaseException:
            outcome.cancel()
            raise

    def ask(self, question: Callable[[], T]) -> T:
        """Call a plain function where the loop runs, so that nothing changes meanwhile."""

        async def answer() -> T:
            return question()

        return self.run(answer)

    def close(self) -> None:
        """End the loop and its thread."""
        self.run(self._loop.shutdown_asyncgens)
        self.run(self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]], outcome: Future[T]) -> None:
        # No coroutine is made before it is here, in the thread that no signal interrupts: it might never be awaited.
        if not outcome.cancelled():
            task = self._loop.create_task(work())
            outcome.add_done_callback(lambda _: self._loop.call_soon_threadsafe(task.cancel))
            task.add_done_callback(lambda _: _settle(outcome, task))


def _settle(outcome: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        outcome.cancel()
        return
    error = task.exception()
    if not outcome.set_running_or_notify_cancel():
        return  # Whoever waited was interrupted.
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
