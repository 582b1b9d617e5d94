"""Decisions of the Realtime connection: heartbeats, rejoins, backoff. Pure functions over frozen types, no I/O."""

import json
import re
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from smelt.backend.clock import SLEPT_S
from smelt.errors import RequestRejected, SmeltError, Unauthorized

_TOKEN_REJECTED: Final = re.compile(r"InvalidJWTToken|JwtSignatureError|MalformedJWT|token has expired", re.IGNORECASE)
_RATE_LIMITED: Final = re.compile(r"RateLimitReached|too many", re.IGNORECASE)
_NEVER_VALID: Final = re.compile(r"TopicNameRequired|UnableToReplayMessages")

# A gateway issues tokens for hours; one that expires sooner than this is counted as a failure, to back off.
_MIN_TOKEN_LIFETIME_S: Final = 5.0

# After half a heartbeat interval of silence, send a heartbeat; if it is unanswered after a quarter of its timeout, mark
# the socket as suspect: the platform usually replies within a fraction of a second.
_QUIET_SHARE: Final = 1 / 2
_SUSPECT_SHARE: Final = 1 / 4


@dataclass(frozen=True)
class RealtimeTimings:
    """Intervals, timeouts and limits of the connection; the defaults respect the limits of the hosted service."""

    heartbeat_interval_s: float = 10.0
    reply_timeout_s: float = 10.0
    join_timeout_s: int = 15
    open_timeout_s: int = 10
    stable_s: float = 60.0
    recycle_s: float = 6 * 3600.0
    rate_limit_delay_s: float = 30.0
    joins_per_second: float = 50.0
    channels_per_socket: int = 100
    clock_check_interval_s: float = 2.0


@dataclass(frozen=True)
class JoinRejected:
    """The server replied to a join with an error."""

    reason: str


@dataclass(frozen=True)
class JoinTimedOut:
    """The server did not reply to a join."""


@dataclass(frozen=True)
class ClosedByServer:
    """The server closed a channel; it may have sent the reason before."""


@dataclass(frozen=True)
class ChannelFailed:
    """The server reported an error on a joined channel."""

    reason: str


@dataclass(frozen=True)
class SocketLost:
    """The websocket of the channel was lost."""

    reason: str


LeaveReason = JoinRejected | JoinTimedOut | ClosedByServer | ChannelFailed | SocketLost


@dataclass(frozen=True)
class Rejoin:
    """Join again after a delay.

    `now`: none, since opening a socket backs off itself; `soon`: the backoff; `rate_limit`: a longer one.
    """

    wait: Literal["now", "soon", "rate_limit"]


@dataclass(frozen=True)
class RenewToken:
    """Renew the token, then join again."""


@dataclass(frozen=True)
class GiveUp:
    """Do not join again: the same join will be rejected again."""

    error: SmeltError


NextAction = Rejoin | RenewToken | GiveUp


def after_leaving(left: LeaveReason, *, can_renew: bool) -> NextAction:
    """Return what to do after leaving a channel; `can_renew` is False once a renewed token was rejected."""
    match left:
        case JoinRejected(reason) | ChannelFailed(reason):
            return _after_error(reason, joining=isinstance(left, JoinRejected), can_renew=can_renew)
        case JoinTimedOut() | ClosedByServer():
            return Rejoin("soon")
        case SocketLost():
            return Rejoin("now")
        case _:
            assert_never(left)


def _after_error(reason: str, *, joining: bool, can_renew: bool) -> NextAction:
    if _RATE_LIMITED.search(reason):
        return Rejoin("rate_limit")
    if _TOKEN_REJECTED.search(reason) or (joining and reason.startswith("Unauthorized")):
        return RenewToken() if can_renew else GiveUp(Unauthorized(reason))
    if joining and _NEVER_VALID.match(reason):
        return GiveUp(RequestRejected("channel_rejected", reason))
    return Rejoin("soon")


@dataclass
class SocketToken:
    """The token of one socket; `is_issued` if the gateway issued it for this connection, in place of an opaque key.

    Such a token cannot be renewed; a new socket gets a new one. A token that was never accepted is not replaced, since
    the next one would be rejected as well.
    """

    is_issued: bool
    was_accepted: bool = False
    is_expired: bool = False

    def record_accepted(self) -> None:
        """Record that the server accepted a join."""
        self.was_accepted = True

    def record_error(self, left: JoinRejected | ChannelFailed) -> bool:
        """Record an error that the server reported; return True if it means that the token expired."""
        if _TOKEN_REJECTED.search(left.reason) is None:
            self.was_accepted = True  # The server checks the token first.
        else:
            self.is_expired = self.is_issued and self.was_accepted
        return self.is_expired


def can_reuse_socket(left: LeaveReason) -> bool:
    """Return True if the topic may be joined again on the same socket.

    A late `phx_close` would close the next channel of the same topic, because the client library routes by topic alone.
    After a rejected join, no such message can be outstanding.
    """
    return isinstance(left, JoinRejected)


def handshake_error(status: int | None, reason: str) -> SmeltError | None:
    """Return the permanent error after a failed handshake, None if another attempt may succeed."""
    # The platform also responds with 403 while a project is paused or restored.
    return Unauthorized(f"Realtime rejects the key: {reason}") if status == 401 else None


@dataclass
class Backoff:
    """Counts the failures in a row of a whole connection, for growing delays.

    Sockets that are lost together count as one failure. A socket that lasted `stable_s` resets the count; so does one
    whose token expired, which is not a failure, unless the token expired within seconds.
    """

    stable_s: float
    failures: int = 0
    waiting: bool = False

    def record_open_failed(self) -> None:
        """Record that a socket could not be opened."""
        self.failures += 1
        self.waiting = True

    def record_opened(self) -> None:
        """Record that a socket was opened."""
        self.waiting = False

    def record_lost(self, age_s: float, *, token_expired: bool = False) -> None:
        """Record that an open socket was lost, or its token expired, after `age_s` seconds."""
        if self.waiting:
            return
        if token_expired and age_s >= _MIN_TOKEN_LIFETIME_S:
            self.failures = 0
        else:
            self.failures = 1 if age_s >= self.stable_s else self.failures + 1
            self.waiting = True


@dataclass(frozen=True)
class Liveness:
    """The liveness of one socket: when it was opened, last received a message, and last sent a heartbeat.

    Times are seconds of one monotonic clock; `drift_s` are the seconds that the wall clock gained on it. `is_suspect`
    is True once the reply to the last heartbeat is late.
    """

    opened_at: float
    received_at: float
    heartbeat_at: float
    is_suspect: bool = False
    drift_s: float = 0.0


@dataclass(frozen=True)
class Wait:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True)
class SendHeartbeat:
    """Send a heartbeat."""


@dataclass(frozen=True)
class MarkSuspect:
    """Mark the socket as suspect: the reply to a heartbeat is late, so live messages may be lost."""


@dataclass(frozen=True)
class CloseSocket:
    """Close the socket; its channels rejoin on another one."""

    reason: str


Step = Wait | SendHeartbeat | MarkSuspect | CloseSocket


def next_step(liveness: Liveness, now: float, timings: RealtimeTimings) -> Step:
    """Return the next step for an open socket.

    Send a heartbeat periodically or after a silence; without a reply, mark the socket as suspect, then close it. Also
    close it when it is old, and after a suspend of the machine.
    """
    if liveness.drift_s >= SLEPT_S:
        return CloseSocket("the machine was asleep")
    recycle_at = liveness.opened_at + timings.recycle_s
    if now >= recycle_at:
        return CloseSocket("recycled")
    due_at, due = _next_due(liveness, timings)
    return due if now >= due_at else Wait(min(due_at - now, recycle_at - now, timings.clock_check_interval_s))


def _next_due(liveness: Liveness, timings: RealtimeTimings) -> tuple[float, Step]:
    if liveness.received_at >= liveness.heartbeat_at:
        return min(
            liveness.heartbeat_at + timings.heartbeat_interval_s,
            liveness.received_at + timings.heartbeat_interval_s * _QUIET_SHARE,
        ), SendHeartbeat()
    if liveness.is_suspect:
        return liveness.heartbeat_at + timings.reply_timeout_s, CloseSocket("no reply to a heartbeat")
    return liveness.heartbeat_at + timings.reply_timeout_s * _SUSPECT_SHARE, MarkSuspect()


def error_reason(text: str) -> str:
    """Return the reason in the JSON text that the client library makes of an error reply or a system message."""
    try:
        payload = json.loads(text)
    except ValueError:
        return text
    if not isinstance(payload, dict):
        return text
    return str(payload.get("reason") or payload.get("message") or text)
