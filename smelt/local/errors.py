"""What the embedded stack raises on purpose; each message is one sentence for the person at the terminal.

LocalError
├── LocalRefused      something has to be changed first: a taken port, a missing npm, a wrong migration
└── LocalUnavailable  the same start may work later: a download or a server that did not come up
"""

from smelt.pickling import PicklableError


class LocalError(PicklableError):
    """Base of all errors of the embedded stack."""


class LocalRefused(LocalError):
    """The same start will be refused again until something is changed."""


class LocalUnavailable(LocalError):
    """The same start may work later."""
