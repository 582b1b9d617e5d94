"""The options of Realtime, with the platform's limits and delays as defaults."""

from dataclasses import dataclass

from smelt.local.keys import Keys


@dataclass(frozen=True, kw_only=True)
class RealtimeOptions:
    """The options of the server; only tests should change the delays and limits.

    `max_events_per_s` limits messages, sent and delivered, and `max_joins_per_s` joins: means over a minute, updated
    every `event_tick_s`. 100 is the limit of the platform's free plan; None disables a limit. `realtime_dsn` connects
    as `smelt_realtime` (for replication and the probes of private channels), `authenticator_dsn` as a role that can
    switch to the callers' roles.
    """

    keys: Keys
    realtime_dsn: str
    authenticator_dsn: str
    connect_error_delay_s: float = 2.0
    join_error_delay_s: float = 5.0
    resubscribe_delay_s: tuple[float, float] = (1.0, 3.0)
    idle_timeout_s: float = 66.0
    publication_check_interval_s: float = 60.0
    max_events_per_s: int | None = 100
    max_joins_per_s: int | None = 100
    event_tick_s: float = 5.0
    max_channels: int = 100
    max_broadcast_bytes: int = 3_000_000
    max_request_bytes: int = 8_000_000
    max_change_bytes: int = 1_048_576
    max_presence_calls: int = 5
    presence_window_s: float = 30.0
    queue_frames: int = 10_000
    queue_bytes: int = 32_000_000
    message_retention_h: float = 72.0
