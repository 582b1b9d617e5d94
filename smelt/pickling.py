"""The base class of all exceptions of this package, which survive pickle and copy.

Python pickles an exception as its class and its `args`, and unpickles it by calling the class with them. That fails
if `__init__` takes other arguments than the message, and `multiprocessing.Pool` then waits forever for its result.
"""

import traceback
from typing import Any


class PicklableError(Exception):
    """An exception that is unpickled without calling `__init__`, with its attributes and the text of its cause."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to restore this error: its class and `args`, then its attributes."""
        state = dict(self.__dict__)
        if self.__cause__ is not None:
            state["__cause__"] = _picklable(self.__cause__)
        return _restore, (type(self), self.args), state


class Cause(PicklableError):
    """Replaces the exception of another library as the cause of a pickled error; the message is its class and text."""


def _restore(kind: type[PicklableError], args: tuple[object, ...]) -> PicklableError:
    return kind.__new__(kind, *args)


def _picklable(error: BaseException) -> PicklableError:
    if isinstance(error, PicklableError):
        return error
    cause = Cause("".join(traceback.format_exception_only(error)).rstrip())
    if error.__cause__ is not None:
        cause.__cause__ = _picklable(error.__cause__)
    return cause
