"""The supervised connection to Supabase Realtime, shared by processor and subscriber.

Theory of operation. A caller joins a topic with one function, `on_event`, which receives each `ChannelEvent` of it:
`Joined`, then `Broadcast` and `RowChanged`; `Suspect` when messages may be lost; `Left` when the connection is lost,
then `Joined` again, or `GaveUp` if the server rejects the channel permanently. Everything runs on one event loop. From
the caller inwards, with the state that each part owns:

    events.py        the union of events
    connection.py    RealtimeConnection: the sockets, the channels by topic, the backoff, the rate of joins, the token
    channel.py       SupervisedChannel: the listeners and the failures of a topic; Channel: one of its listeners
    channel_join.py  ChannelJoin: one join of a channel on one socket, which ends once, with a reason
    socket.py        Socket: one websocket of the official client with its joins and its liveness
    policy.py        every decision, pure

*Sockets are disposable.* The reconnects of the official client are off: a `Socket` is opened once and closed for good.
It carries up to 100 channels; more sockets are opened as needed, one that has no channel left is closed. When it is
lost, all of its joins end with `SocketLost`, and each channel requests a socket again.

*Reconnect.* A channel opens the socket that it needs, while the others wait for it. The backoff belongs to the
connection: exponential with full jitter, at most 30 s, without an end. Sockets that are lost together count as one
failure; one that lasted 60 s resets the count.

*Join.* Always private, at most 50 per second. With postgres_changes, a channel counts as joined once the server
confirms that it listens to the database; a later confirmation means that changes were lost, and is delivered as
`Joined`. A join ends with a `LeaveReason`, for which `after_leaving` returns the next action: rejoin now, after a
backoff or after a rate limit, renew the token, or give up. A topic is joined again on the same socket only after a
rejected join, since a late `phx_close` would close the new channel.

*Heartbeat.* `next_step` looks at the liveness of a socket: a heartbeat is due every 10 s, and after 5 s without a
message. Without a reply the socket is suspect after 2.5 s, and closed after 10 s. It is also closed after the machine
slept, and recycled after 4.5 to 6 hours.

*Token.* `TokenSource` (`backend/tokens.py`) holds it. One task of the connection renews it a minute before it expires,
or earlier if it is short-lived, and sends it on all sockets. A channel whose token is rejected renews it once; if the
fresh one is rejected as well, it gives up. A token that the platform issued for an opaque key belongs to its socket,
which is replaced when it expires.
"""

from smelt.backend.realtime.channel import Channel
from smelt.backend.realtime.channel_join import ChangesOf
from smelt.backend.realtime.connection import ConnectionReport, ConnectionState, RealtimeConnection
from smelt.backend.realtime.events import (
    Broadcast,
    ChannelEvent,
    GaveUp,
    Joined,
    Left,
    LiveEvent,
    OnEvent,
    RowChanged,
    Suspect,
)
from smelt.backend.realtime.policy import RealtimeTimings

__all__ = [
    "Broadcast",
    "ChangesOf",
    "Channel",
    "ChannelEvent",
    "ConnectionReport",
    "ConnectionState",
    "GaveUp",
    "Joined",
    "Left",
    "LiveEvent",
    "OnEvent",
    "RealtimeConnection",
    "RealtimeTimings",
    "RowChanged",
    "Suspect",
]
