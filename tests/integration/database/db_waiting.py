"""Waiting for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import Final

DEADLINE_S: Final = 20.0


def await_true(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
