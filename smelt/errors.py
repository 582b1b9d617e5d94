"""The errors that smelt raises.

    SmeltError
    ├── TransientError           the same call may succeed later; smelt retries it
    │   └── Unavailable          the project, the network or another service does not respond
    └── PermanentError           the same call will fail again
        ├── SettingsError        a setting is missing or invalid; the message names it
        ├── Unauthorized         the key or token is rejected, or lacks the permission
        │   └── Forbidden        it is accepted, but lacks the permission
        ├── RequestRejected      the project rejects the request; `.code` is stable
        │   └── NotFound         the object does not exist, or belongs to another user
        └── SmeltFailed          a smelt that `wait` waited for has failed; `.code`, `.smelt_id`

The class alone decides whether a call is worth retrying. Errors survive pickle and copy, with their attributes and the
text of their cause.
"""

from smelt.pickling import PicklableError


class SmeltError(PicklableError):
    """Base class of all errors of this package."""


class TransientError(SmeltError):
    """The same call may succeed later."""


class Unavailable(TransientError):
    """The Supabase project, or another service that smelt needs, does not respond."""


class PermanentError(SmeltError):
    """The same call will fail again."""


class SettingsError(PermanentError):
    """A setting is missing or invalid; the message names it and what it needs."""


class Unauthorized(PermanentError):
    """The key or token is rejected, or lacks the permission for this call."""


class Forbidden(Unauthorized):
    """The key or token is accepted, but lacks the permission for this call."""


class RequestRejected(PermanentError):
    """The project rejects a request; `code` is stable and meant for programs, the message for people.

    Codes of smelt's SQL functions are those of `RejectionCode`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFound(RequestRejected):
    """The smelt, batch or object does not exist, or belongs to another user."""


class SmeltFailed(PermanentError):
    """A smelt that `wait` waited for has failed."""

    def __init__(self, smelt_id: str, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.smelt_id = smelt_id
        self.code = code
