"""Every error that smelt raises on purpose.

    SmeltError
    ├── Passing            the same call may succeed later; smelt itself retries these
    │   └── Unavailable    the project, its network or a service behind it does not answer
    └── Refused            the same call will be refused again
        ├── SettingsError  a setting is missing or wrong; the sentence names it
        ├── Unauthorized   the key or token is not accepted, or may not do this
        ├── RequestRejected the database says no; `.code` is one of `RejectionCode`
        │   └── NotFound   no such smelt, or not yours
        └── SmeltFailed    a smelt that was waited for ended as failed; `.code`, `.smelt_id`

Whether a call is worth repeating is told by the class alone. An error survives pickle and copy, with its attributes and
the text of its cause.
"""

from smelt.pickling import PicklableError


class SmeltError(PicklableError):
    """Base of all errors of this package."""


class TransientError(SmeltError):
    """The same call may succeed later."""


class Unavailable(TransientError):
    """The Supabase project, or a service that smelt needs, does not answer."""


class PermanentError(SmeltError):
    """The same call will be refused again."""


class SettingsError(PermanentError):
    """A setting is missing or wrong; the sentence names it and says what it wants."""


class Unauthorized(PermanentError):
    """The key or token is not accepted, or does not allow this call."""


class RequestRejected(PermanentError):
    """The database refuses a request; `code` is stable and meant for programs, the sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFound(RequestRejected):
    """There is no such smelt, or it belongs to somebody else."""


class SmeltFailed(PermanentError):
    """A smelt that was waited for ended as failed."""

    def __init__(self, smelt_id: str, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.smelt_id = smelt_id
        self.code = code
