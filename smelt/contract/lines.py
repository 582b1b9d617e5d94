"""The lines of `--json` that are not events of a channel."""

from typing import Literal

from smelt.contract.events import Model

ConnectionState = Literal["live", "reconnecting", "polling", "unreachable"]


class ConnectionLine(Model):
    """The live connection of `smelt watch` has changed; nothing has to be done about it.

    `polling`: reconnecting, and reading the state meanwhile. `unreachable`: reads fail as well and are retried.
    """

    state: ConnectionState
    message: str


class ErrorLine(Model):
    """The command has failed: a `code` for programs, a sentence for people."""

    code: str
    message: str
