"""Every exception class of the package survives pickle and copy."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType

import pytest

import smelt
from smelt.errors import NotFound, SmeltFailed, Unavailable
from smelt.pickling import Cause, PicklableError

COPIES: dict[str, Callable[[BaseException], BaseException]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle-{protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@dataclass(frozen=True)
class Value:
    """An argument of an exception; with `status_code` it is accepted as a response."""

    name: str
    status_code: int = 418


def subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in type.__subclasses__(kind):
        yield child
        yield from subclasses(child)


def exception_classes() -> list[type[BaseException]]:
    """Return every exception class of every module of smelt."""
    for module in pkgutil.walk_packages(smelt.__path__, "smelt."):
        importlib.import_module(module.name)
    found = {kind for kind in subclasses(BaseException) if kind.__module__.partition(".")[0] == "smelt"}
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


def make(kind: type[BaseException]) -> BaseException:
    """Return an instance with a different value for each parameter, a note, and a cause that has a cause."""
    if isinstance(kind.__init__, FunctionType):
        error = kind(**{name: Value(name) for name in inspect.signature(kind).parameters})
    else:
        error = kind("the message")
    error.add_note("a note")
    error.__cause__ = ValueError("the cause")
    error.__cause__.__cause__ = OSError(28, "the cause of the cause")
    return error


def test_pickle_base_is_shared_by_all_exceptions() -> None:
    found = exception_classes()
    assert {SmeltFailed, NotFound, Cause} <= set(found)
    assert [kind for kind in found if not issubclass(kind, PicklableError)] == []


@pytest.mark.parametrize("method", COPIES)
@pytest.mark.parametrize("kind", exception_classes(), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_pickle_and_copy_keep_attributes_and_cause(kind: type[BaseException], method: str) -> None:
    error = make(kind)
    restored = COPIES[method](error)
    assert type(restored) is kind
    assert (str(restored), restored.args, vars(restored)) == (str(error), error.args, vars(error))
    assert str(restored.__cause__) == "ValueError: the cause"
    assert restored.__cause__ is not None
    assert str(restored.__cause__.__cause__) == "OSError: [Errno 28] the cause of the cause"


def test_pickle_keeps_the_class_of_a_cause_of_smelt() -> None:
    error = SmeltFailed("an id", "decoding_failed", "The file can't be decoded.")
    error.__cause__ = Unavailable("no response")
    restored = pickle.loads(pickle.dumps(error))
    assert (restored.smelt_id, restored.code) == ("an id", "decoding_failed")
    assert type(restored.__cause__) is Unavailable


def test_pickle_of_an_error_without_cause_adds_none() -> None:
    restored = pickle.loads(pickle.dumps(NotFound("not_found", "There is no such smelt.")))
    assert (restored.code, restored.__cause__, restored.__suppress_context__) == ("not_found", None, False)
