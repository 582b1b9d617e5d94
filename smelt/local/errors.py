"""What the embedded stack raises on purpose; each message is one sentence for the person at the terminal.

LocalError
├── LocalPermanentError      something has to be changed first: a taken port, a missing npm, a wrong migration
└── LocalTransientError  the same start may work later: a download or a server that did not come up
"""

from smelt.pickling import PicklableError


class LocalError(PicklableError):
    """Base of all errors of the embedded stack."""


class LocalPermanentError(LocalError):
    """The same start will be refused again until something is changed."""


class LocalTransientError(LocalError):
    """The same start may work later."""
