"""The errors of the embedded stack. Each message is one sentence for the user at the terminal.

LocalError
├── LocalPermanentError  something must be changed first: a port in use, a missing npm, a failing migration
└── LocalTransientError  the same start may succeed later: a failed download, a server that did not start
"""

from smelt.pickling import PicklableError


class LocalError(PicklableError):
    """Base of all errors of the embedded stack."""


class LocalPermanentError(LocalError):
    """The same start will fail again until something is changed."""


class LocalTransientError(LocalError):
    """The same start may succeed later."""
