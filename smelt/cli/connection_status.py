"""The state of the live connection as a short text, empty while events arrive and reads succeed."""

from typing import assert_never

from smelt.contract.lines import ConnectionState
from smelt.subscriber.updates import Connected, ConnectionEvent, ConnectionIssue, Disconnected

RECONNECTING = "reconnecting"
POLLING = "reconnecting, polling meanwhile"
LIVE_AGAIN = "reconnected"
NO_RESPONSE = "the project does not respond, retrying"


class ConnectionStatus:
    """Tracks the connection from the events and updates of a watch."""

    def __init__(self, *, polling: bool) -> None:
        self._polling = polling
        self._is_live = True
        self._is_responding = True

    @property
    def text(self) -> str:
        """The current state in a few words, for people."""
        if not self._is_responding:
            return NO_RESPONSE
        if self._is_live:
            return ""
        return POLLING if self._polling else RECONNECTING

    @property
    def state(self) -> ConnectionState:
        """The current state, for programs."""
        if not self._is_responding:
            return "unreachable"
        if self._is_live:
            return "live"
        return "polling" if self._polling else "reconnecting"

    def apply_event(self, event: ConnectionEvent) -> bool:
        """Apply a connection event; return True if the text has changed."""
        before = self.text
        match event:
            case Connected():
                self._is_live = self._is_responding = True
            case Disconnected() | ConnectionIssue(live=True):
                self._is_live = False
            case ConnectionIssue():
                self._is_responding = False
            case _:
                assert_never(event)
        return self.text != before

    def record_update(self) -> bool:
        """Record that an update arrived, so the project responds; return True if the text has changed."""
        before = self.text
        self._is_responding = True
        return self.text != before
