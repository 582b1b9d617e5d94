"""The lines of `--json` that differ from the events of a channel."""

from typing import Literal

from smelt.contract.events import Model, ProgressEvent

ConnectionState = Literal["live", "reconnecting", "polling", "unreachable"]


class ConnectionLine(Model):
    """A change of the live connection of `smelt watch`; informational.

    `polling`: reconnecting, and polling the state meanwhile. `unreachable`: reads fail as well and are retried.
    """

    state: ConnectionState
    message: str


class ProgressLine(ProgressEvent):
    """The event `progress`, and what a snapshot has besides: the place in the queue, and whether a worker runs."""

    queue_position: int | None = None
    worker_online: bool | None = None


class ErrorLine(Model):
    """An error that ended the command: a `code` for programs, a sentence for people."""

    code: str
    message: str
