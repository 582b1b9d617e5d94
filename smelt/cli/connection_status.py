"""What a watcher on a terminal is told of the live connection: nothing while all is well."""

from typing import assert_never

from smelt.contract.lines import ConnectionState
from smelt.subscriber.updates import Connected, ConnectionEvent, ConnectionIssue, Disconnected

RECONNECTING = "reconnecting"
POLLING = "reconnecting, meanwhile polling"
LIVE_AGAIN = "live again"
NO_RESPONSE = "the project does not answer, trying again"


class ConnectionStatus:
    """A note of a few words, empty while events come live and reads are answered."""

    def __init__(self, *, polling: bool) -> None:
        self._polling = polling
        self._is_live = True
        self._is_responding = True

    @property
    def text(self) -> str:
        """The note as it stands."""
        if not self._is_responding:
            return NO_RESPONSE
        if self._is_live:
            return ""
        return POLLING if self._polling else RECONNECTING

    @property
    def state(self) -> ConnectionState:
        """The same for programs."""
        if not self._is_responding:
            return "unreachable"
        if self._is_live:
            return "live"
        return "polling" if self._polling else "reconnecting"

    def apply_event(self, signal: ConnectionEvent) -> bool:
        """Follow a signal; true when the note is another one now."""
        before = self.text
        match signal:
            case Connected():
                self._is_live = self._is_responding = True
            case Disconnected() | ConnectionIssue(live=True):
                self._is_live = False
            case ConnectionIssue():
                self._is_responding = False
            case _:
                assert_never(signal)
        return self.text != before

    def record_update(self) -> bool:
        """Something came in: the project answers; true when the note is another one now."""
        before = self.text
        self._is_responding = True
        return self.text != before
