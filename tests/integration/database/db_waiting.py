"""Waiting for a condition with a timeout."""

import time
from collections.abc import Callable
from typing import Final

TIMEOUT_S: Final = 20.0


def await_true(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after the timeout."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)
