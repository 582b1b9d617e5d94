"""Errors of one file or one smelt, with the error codes of the contract."""

from smelt.contract.vocabulary import ErrorCode
from smelt.errors import PermanentError, TransientError


class FileError(PermanentError):
    """One file can't be processed, now or later; the other files of its smelt continue.

    `sentence` is for the owner of the file; None for the sentence of the code.
    """

    def __init__(self, code: ErrorCode, detail: str, sentence: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: ErrorCode = code
        self.detail = detail
        self.sentence = sentence


class SynthesisPermanentError(PermanentError):
    """The output can't be generated with these settings; the transcript is kept."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: ErrorCode = code


class SynthesisTransientError(TransientError):
    """The output can't be generated right now; `retry_after_s` is the delay that the endpoint asked for."""

    def __init__(self, code: ErrorCode, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: ErrorCode = code
        self.retry_after_s = retry_after_s


class ChildKilled(TransientError):
    """A child was killed while it worked, and not by the worker.

    An operator can have done it, or the kernel without memory: nothing is known about the file. The attempt counts as
    a failure, with a delay.
    """


class ChildUnusable(TransientError):
    """This worker can't start a child, or one died without work: the machine is at fault, not the smelt."""


class ModelMissing(TransientError):
    """The smelt requests a model that this worker does not have; another worker may have it."""


class NotAccepted(TransientError):
    """The external service does not accept a smelt now; `retry_after_s` is the delay that it asked for."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DiskFull(TransientError):
    """The temporary folder has no room for a recording right now."""


class ModelError(TransientError):
    """The model failed on a recording, for example for lack of memory; its process goes on."""


class ModelRestarted(TransientError):
    """The process of the model has ended, perhaps for another recording: this one continues from its checkpoint."""


class ModelSuspended(ChildUnusable):
    """This worker does not use its model until that has transcribed a known recording, or dispatches nothing."""
