"""Reports about the state of a client and its watches, for logs and for people."""

from dataclasses import dataclass
from uuid import UUID

from smelt.backend.realtime import ConnectionReport
from smelt.contract.vocabulary import Status
from smelt.subscriber.freshness import Freshness


@dataclass(frozen=True)
class WatchReport:
    """The state of one watch; ages are in seconds, None for never."""

    smelt_id: UUID
    status: Status | None
    seq: int | None
    joined: bool
    freshness: Freshness
    last_event_age_s: float | None
    last_read_age_s: float | None
    rejoin_count: int

    def __str__(self) -> str:
        how = "joined" if self.joined else "not joined"
        event, read = _age(self.last_event_age_s), _age(self.last_read_age_s)
        return f"{self.smelt_id} {self.status or 'unknown'}: {how}, {self.freshness}, event {event}, read {read}"


@dataclass(frozen=True)
class Diagnostics:
    """The state of a client; `read_failures_in_a_row` counts the failed reads since the last successful one."""

    connection: ConnectionReport
    watches: tuple[WatchReport, ...]
    read_count: int
    read_failures_in_a_row: int

    def __str__(self) -> str:
        connection = self.connection
        first = (
            f"Realtime {connection.state}: {connection.socket_count} sockets, "
            f"{connection.joined_count} of {connection.channel_count} channels joined, "
            f"{connection.reconnect_count} reconnects, last error: {connection.last_error or 'none'}"
        )
        second = f"Reads: {self.read_count}, {self.read_failures_in_a_row} failed in a row"
        return "\n".join((first, second, *(f"  {watch}" for watch in self.watches)))


def _age(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s ago"
