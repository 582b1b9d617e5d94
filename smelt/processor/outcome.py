"""What an exception means for the smelt that it ended. Pure."""

from dataclasses import dataclass
from typing import Final

from smelt.contract.vocabulary import ErrorCode
from smelt.errors import TransientError
from smelt.processor.errors import DiskFull, FileError, SynthesisPermanentError, SynthesisTransientError

# Time for somebody to make room, or for a worker that has it.
_ROOM_AFTER_S: Final = 60.0


@dataclass(frozen=True)
class Failure:
    """How to fail a smelt; a transient one is tried again while tries are left."""

    code: ErrorCode
    transient: bool = False
    retry_after_s: float | None = None


def failure_of(exc: BaseException) -> Failure:
    """The failure for an exception; what nobody foresaw is worth another try."""
    match exc:
        case FileError() | SynthesisPermanentError():
            return Failure(exc.code)
        case SynthesisTransientError():
            return Failure(exc.code, transient=True, retry_after_s=exc.retry_after_s)
        case DiskFull():
            return Failure("internal_error", transient=True, retry_after_s=_ROOM_AFTER_S)
        case TransientError():
            return Failure("connection_lost", transient=True)
        case _:
            return Failure("internal_error", transient=True)
