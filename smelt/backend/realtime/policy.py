"""What to do about a socket or a channel, decided without touching either."""

import json
import re
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from smelt.backend.clock import SLEPT_S
from smelt.errors import RequestRejected, SmeltError, Unauthorized

_TOKEN_TURNED_DOWN: Final = re.compile(
    r"InvalidJWTToken|JwtSignatureError|MalformedJWT|token has expired", re.IGNORECASE
)
_RATE_LIMITED: Final = re.compile(r"RateLimitReached|too many", re.IGNORECASE)
_NEVER_VALID: Final = re.compile(r"TopicNameRequired|UnableToReplayMessages")

# A gateway issues tokens for hours; one that expired sooner than this had expired almost when it was issued.
_MIN_TOKEN_LIFETIME_S: Final = 5.0

# Who hears nothing for half of the time between heartbeats asks at once, and doubts that an answer will come after a
# quarter of the time that it has: what the platform usually does takes a fraction of a second.
_QUIET: Final = 1 / 2
_DOUBTFUL: Final = 1 / 4


@dataclass(frozen=True)
class RealtimeTimings:
    """How fast and how often; the defaults stay inside the limits of the hosted service."""

    heartbeat_s: float = 10.0
    answer_s: float = 10.0
    join_timeout_s: int = 15
    open_timeout_s: int = 10
    stable_s: float = 60.0
    recycle_s: float = 6 * 3600.0
    rate_limit_wait_s: float = 30.0
    joins_a_second: float = 50.0
    channels_a_socket: int = 100
    clock_check_s: float = 2.0


@dataclass(frozen=True)
class JoinRejected:
    """The server answered a join with an error."""

    reason: str


@dataclass(frozen=True)
class JoinTimedOut:
    """The server did not answer a join."""


@dataclass(frozen=True)
class ClosedByServer:
    """The server closed a channel, for a reason that it may have told before."""


@dataclass(frozen=True)
class ChannelFailed:
    """The server reported an error on a joined channel."""

    reason: str


@dataclass(frozen=True)
class SocketLost:
    """The websocket under the channel is gone."""

    reason: str


LeaveReason = JoinRejected | JoinTimedOut | ClosedByServer | ChannelFailed | SocketLost


@dataclass(frozen=True)
class Rejoin:
    """Join again: `now` where dialling itself waits, `soon` after a growing wait, `rate_limit` after a long one."""

    wait: Literal["now", "soon", "rate_limit"]


@dataclass(frozen=True)
class Renew:
    """Ask for a fresh token, then join again."""


@dataclass(frozen=True)
class GiveUp:
    """The same join will be refused again."""

    error: SmeltError


Next = Rejoin | Renew | GiveUp


def after_leaving(left: LeaveReason, *, can_renew: bool) -> Next:
    """What follows on the end of a stay in a channel; `can_renew` is false once a fresh token did not help."""
    match left:
        case JoinRejected(reason) | ChannelFailed(reason):
            return _after_error(reason, joining=isinstance(left, JoinRejected), can_renew=can_renew)
        case JoinTimedOut() | ClosedByServer():
            return Rejoin("soon")
        case SocketLost():
            return Rejoin("now")
        case _:
            assert_never(left)


def _after_error(reason: str, *, joining: bool, can_renew: bool) -> Next:
    if _RATE_LIMITED.search(reason):
        return Rejoin("rate_limit")
    if _TOKEN_TURNED_DOWN.search(reason) or (joining and reason.startswith("Unauthorized")):
        return Renew() if can_renew else GiveUp(Unauthorized(reason))
    if joining and _NEVER_VALID.match(reason):
        return GiveUp(RequestRejected("channel_refused", reason))
    return Rejoin("soon")


@dataclass
class SocketToken:
    """The token of one socket; `is_issued` if the gateway issued it for this connection, in place of an opaque key.

    Such a token can't be renewed: a new socket brings a new one. One that was never accepted is not replaced, since the
    next one would be refused too.
    """

    is_issued: bool
    was_accepted: bool = False
    is_expired: bool = False

    def accept(self) -> None:
        """The server accepted a join."""
        self.was_accepted = True

    def refuse(self, left: JoinRejected | ChannelFailed) -> bool:
        """The server reported an error; return True if it means that the token expired."""
        if _TOKEN_TURNED_DOWN.search(left.reason) is None:
            self.was_accepted = True  # The server checks the token first.
        else:
            self.is_expired = self.is_issued and self.was_accepted
        return self.is_expired


def may_reuse(left: LeaveReason) -> bool:
    """True when the topic may be joined again on the same socket.

    A `phx_close` that is still under way would close the next channel of the same topic: the client library routes by
    topic alone. Only an answered join error leaves nothing under way.
    """
    return isinstance(left, JoinRejected)


def dial_error(status: int | None, reason: str) -> SmeltError | None:
    """The error to give up with after a refused handshake, None when dialling again may help."""
    # 403 is also what stands in front of a project that is being paused or restored.
    return Unauthorized(f"Realtime refuses the key: {reason}") if status == 401 else None


@dataclass
class Backoff:
    """Counts failures in a row of a whole connection, to wait longer after each.

    Sockets that break together are one failure, and a socket that lasted `stable_s` starts the count anew. So does one
    whose token expired, which is not a failure, unless the token expired within seconds.
    """

    stable_s: float
    failures: int = 0
    waiting: bool = False

    def dial_failed(self) -> None:
        """A socket could not be opened."""
        self.failures += 1
        self.waiting = True

    def opened(self) -> None:
        """A socket is open."""
        self.waiting = False

    def lost(self, age_s: float, *, token_expired: bool = False) -> None:
        """An open socket broke, or its token expired, after `age_s` seconds."""
        if self.waiting:
            return
        if token_expired and age_s >= _MIN_TOKEN_LIFETIME_S:
            self.failures = 0
        else:
            self.failures = 1 if age_s >= self.stable_s else self.failures + 1
            self.waiting = True


@dataclass(frozen=True)
class Liveness:
    """Signs of life of one socket; times in seconds of one monotonic clock, `drift_s` that the wall clock ran ahead.

    `is_doubted` once the answer to the last heartbeat is late.
    """

    opened_at: float
    heard_at: float
    beat_at: float
    is_doubted: bool = False
    drift_s: float = 0.0


@dataclass(frozen=True)
class Wait:
    """Nothing to do for some seconds."""

    seconds: float


@dataclass(frozen=True)
class SendHeartbeat:
    """Send a heartbeat now."""


@dataclass(frozen=True)
class MarkSuspect:
    """The answer to a heartbeat is late: what comes live may not come any more."""


@dataclass(frozen=True)
class CloseSocket:
    """Close the socket; its channels move to another one."""

    reason: str


Step = Wait | SendHeartbeat | MarkSuspect | CloseSocket


def next_step(vitals: Liveness, now: float, pace: RealtimeTimings) -> Step:
    """How to look after an open socket: beat when it is time or quiet; doubt it, then retire it, when it is silent.

    It is retired, too, when it is old, and after a sleep.
    """
    if vitals.drift_s >= SLEPT_S:
        return CloseSocket("the machine was asleep")
    recycle_at = vitals.opened_at + pace.recycle_s
    if now >= recycle_at:
        return CloseSocket("recycled")
    due_at, due = _next_due(vitals, pace)
    return due if now >= due_at else Wait(min(due_at - now, recycle_at - now, pace.clock_check_s))


def _next_due(vitals: Liveness, pace: RealtimeTimings) -> tuple[float, Step]:
    if vitals.heard_at >= vitals.beat_at:
        return min(vitals.beat_at + pace.heartbeat_s, vitals.heard_at + pace.heartbeat_s * _QUIET), SendHeartbeat()
    if vitals.is_doubted:
        return vitals.beat_at + pace.answer_s, CloseSocket("no answer to a heartbeat")
    return vitals.beat_at + pace.answer_s * _DOUBTFUL, MarkSuspect()


def error_reason(text: str) -> str:
    """The reason inside the JSON that the client library makes of an error reply or a system message."""
    try:
        payload = json.loads(text)
    except ValueError:
        return text
    if not isinstance(payload, dict):
        return text
    return str(payload.get("reason") or payload.get("message") or text)
