"""Maps an exception to the failure of its smelt. Pure."""

from dataclasses import dataclass
from typing import Final

from smelt.contract.vocabulary import ErrorCode
from smelt.errors import TransientError
from smelt.processor.errors import (
    DiskFull,
    FileError,
    SynthesisPermanentError,
    SynthesisTransientError,
)

# Time to free space, or for another worker to claim the smelt.
_DISK_FULL_RETRY_DELAY_S: Final = 60.0


@dataclass(frozen=True)
class Failure:
    """The arguments of `fail_smelt`; a transient failure is retried while attempts are left."""

    code: ErrorCode
    transient: bool = False
    retry_after_s: float | None = None


def failure_of(exc: BaseException) -> Failure:
    """Return the failure for an exception; an unexpected one is transient.

    `ChildKilled`, `ChildUnusable` and `ModelMissing` release their smelt instead.
    """
    match exc:
        case FileError() | SynthesisPermanentError():
            return Failure(exc.code)
        case SynthesisTransientError():
            return Failure(exc.code, transient=True, retry_after_s=exc.retry_after_s)
        case DiskFull():
            return Failure("internal_error", transient=True, retry_after_s=_DISK_FULL_RETRY_DELAY_S)
        case TransientError():
            return Failure("connection_lost", transient=True)
        case _:
            return Failure("internal_error", transient=True)
