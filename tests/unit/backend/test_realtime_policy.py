"""The decisions of the Realtime connection for each event."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.realtime.policy import (
    Backoff,
    ChannelFailed,
    ClosedByServer,
    CloseSocket,
    GiveUp,
    JoinRejected,
    JoinTimedOut,
    LeaveReason,
    Liveness,
    MarkSuspect,
    RealtimeTimings,
    Rejoin,
    RenewToken,
    SendHeartbeat,
    SocketLost,
    SocketToken,
    Wait,
    after_leaving,
    can_reuse_socket,
    error_reason,
    handshake_error,
    next_step,
)
from smelt.errors import PermanentError, RequestRejected, Unauthorized

TIMINGS = RealtimeTimings(clock_check_interval_s=60)
NOT_ALLOWED = "Unauthorized: You do not have permissions to read from this Channel topic: x"
EXPIRED = "InvalidJWTToken: Token has expired 3 seconds ago"


@pytest.mark.parametrize(
    ("left", "wait"),
    [
        (JoinTimedOut(), "soon"),
        (ClosedByServer(), "soon"),
        (SocketLost("closed with 1006"), "now"),
        (JoinRejected("unmatched topic"), "soon"),
        (JoinRejected("ChannelRateLimitReached: Too many channels"), "rate_limit"),
        (ChannelFailed("Too many messages per second"), "rate_limit"),
        (ChannelFailed("Unauthorized by something else"), "soon"),
        (ChannelFailed("TopicNameRequired: not while joined"), "soon"),
    ],
)
def test_rejoin_follows_a_transient_end_of_a_channel(left: LeaveReason, wait: str) -> None:
    assert after_leaving(left, can_renew=True) == Rejoin(wait)


@pytest.mark.parametrize(
    "left",
    [
        JoinRejected(NOT_ALLOWED),
        JoinRejected(EXPIRED),
        JoinRejected("JwtSignatureError: Failed to validate JWT signature"),
        JoinRejected("MalformedJWT: The token provided is not a valid JWT"),
        ChannelFailed("Token has expired 0 seconds ago"),
    ],
)
def test_token_rejected_is_renewed_once_and_then_ends_as_unauthorized(left: LeaveReason) -> None:
    assert after_leaving(left, can_renew=True) == RenewToken()
    following = after_leaving(left, can_renew=False)
    assert isinstance(following, GiveUp)
    assert isinstance(following.error, Unauthorized)


def test_join_with_an_invalid_topic_is_not_retried() -> None:
    following = after_leaving(JoinRejected("TopicNameRequired: You must provide a topic name"), can_renew=True)
    assert isinstance(following, GiveUp)
    assert isinstance(following.error, RequestRejected)


@pytest.mark.parametrize(
    "left",
    [
        ChannelFailed("Token has expired 0 seconds ago"),
        JoinRejected(EXPIRED),
        JoinRejected("JwtSignatureError: Failed to validate JWT signature"),
    ],
)
def test_token_issued_by_the_platform_expires_once_it_is_rejected_after_acceptance(
    left: JoinRejected | ChannelFailed,
) -> None:
    joined = SocketToken(is_issued=True)
    joined.record_accepted()
    assert joined.record_error(left)
    rejected_for_another_reason = SocketToken(is_issued=True)
    assert not rejected_for_another_reason.record_error(JoinRejected(NOT_ALLOWED))
    assert rejected_for_another_reason.record_error(left)
    assert not SocketToken(is_issued=True).record_error(left)


def test_token_of_the_caller_does_not_expire_with_its_socket() -> None:
    token = SocketToken(is_issued=False)
    token.record_accepted()
    assert not token.record_error(ChannelFailed("Token has expired 0 seconds ago"))


@pytest.mark.parametrize("reason", [NOT_ALLOWED, "Too many messages per second", "UnableToConnectToProject: x"])
def test_token_does_not_expire_on_an_unrelated_error(reason: str) -> None:
    token = SocketToken(is_issued=True)
    token.record_accepted()
    assert not token.record_error(JoinRejected(reason))


def test_socket_can_be_reused_only_after_a_rejected_join() -> None:
    assert can_reuse_socket(JoinRejected("unmatched topic"))
    assert not any(
        can_reuse_socket(left) for left in (JoinTimedOut(), ClosedByServer(), ChannelFailed(""), SocketLost(""))
    )


def test_reconnect_stops_only_for_a_rejected_key() -> None:
    assert isinstance(handshake_error(401, "HTTP 401"), Unauthorized)
    assert [handshake_error(status, "") for status in (None, 403, 404, 429, 500, 502, 503)] == [None] * 7


def test_backoff_counts_sockets_lost_together_as_one_failure() -> None:
    backoff = Backoff(stable_s=60)
    backoff.record_opened()
    for _ in range(10):
        backoff.record_lost(age_s=5)
    assert (backoff.failures, backoff.waiting) == (1, True)


def test_backoff_failures_add_up_until_a_socket_was_stable() -> None:
    backoff = Backoff(stable_s=60)
    for count in range(1, 5):
        backoff.record_open_failed()
        assert backoff.failures == count
    backoff.record_opened()
    assert not backoff.waiting
    backoff.record_lost(age_s=1)
    assert backoff.failures == 5
    backoff.record_opened()
    backoff.record_lost(age_s=61)
    assert backoff.failures == 1


def test_token_expiry_is_not_a_failure_unless_it_follows_within_seconds() -> None:
    backoff = Backoff(stable_s=60)
    backoff.record_open_failed()
    backoff.record_opened()
    backoff.record_lost(age_s=20, token_expired=True)
    assert (backoff.failures, backoff.waiting) == (0, False)
    for count in range(1, 4):
        backoff.record_lost(age_s=1, token_expired=True)
        assert (backoff.failures, backoff.waiting) == (count, True)
        backoff.record_opened()


def test_heartbeat_is_sent_when_the_interval_has_passed() -> None:
    liveness = Liveness(opened_at=0, received_at=5, heartbeat_at=0)
    assert next_step(liveness, 4, TIMINGS) == Wait(6)
    assert next_step(liveness, 10, TIMINGS) == SendHeartbeat()


def test_heartbeat_is_sent_early_on_silence_and_on_time_otherwise() -> None:
    silent = Liveness(opened_at=0, received_at=101, heartbeat_at=100)
    assert next_step(silent, 105, TIMINGS) == Wait(1)
    assert next_step(silent, 106, TIMINGS) == SendHeartbeat()
    active = Liveness(opened_at=0, received_at=109.9, heartbeat_at=100)
    assert next_step(active, 109, TIMINGS) == Wait(1)
    assert next_step(active, 110, TIMINGS) == SendHeartbeat()


def test_heartbeat_reply_that_is_late_marks_the_socket_suspect_once() -> None:
    liveness = Liveness(opened_at=0, received_at=5, heartbeat_at=100)
    assert next_step(liveness, 102, TIMINGS) == Wait(0.5)
    assert next_step(liveness, 102.5, TIMINGS) == MarkSuspect()
    assert next_step(replace(liveness, is_suspect=True), 102.5, TIMINGS) == Wait(7.5)
    assert next_step(replace(liveness, is_suspect=True, received_at=103), 104, TIMINGS) == Wait(4)


def test_heartbeat_timeout_closes_the_socket() -> None:
    liveness = Liveness(opened_at=0, received_at=5, heartbeat_at=100, is_suspect=True)
    assert next_step(liveness, 109, TIMINGS) == Wait(1)
    assert isinstance(next_step(liveness, 110, TIMINGS), CloseSocket)


def test_recycle_closes_a_socket_before_12_hours() -> None:
    assert TIMINGS.recycle_s <= 12 * 3600
    old = Liveness(opened_at=0, received_at=TIMINGS.recycle_s, heartbeat_at=TIMINGS.recycle_s - 1)
    assert next_step(old, TIMINGS.recycle_s, TIMINGS) == CloseSocket("recycled")
    assert next_step(old, TIMINGS.recycle_s - 1, TIMINGS) == Wait(1)


def test_wake_from_sleep_closes_the_socket() -> None:
    slept = Liveness(opened_at=0, received_at=1, heartbeat_at=0, drift_s=60)
    assert next_step(slept, 2, TIMINGS) == CloseSocket("the machine was asleep")
    set_back = Liveness(opened_at=0, received_at=1, heartbeat_at=0, drift_s=-60)
    assert next_step(set_back, 2, RealtimeTimings()) == Wait(2)


def test_clock_is_checked_more_often_than_heartbeats_are_due() -> None:
    quiet = Liveness(opened_at=0, received_at=1, heartbeat_at=0)
    assert next_step(quiet, 2, RealtimeTimings()) == Wait(RealtimeTimings().clock_check_interval_s)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.booleans(), st.floats(0, 1e5))
def test_heartbeat_timeout_is_detected_and_a_wait_never_oversleeps(
    opened_at: float, received_at: float, heartbeat_at: float, is_suspect: bool, now: float
) -> None:
    step = next_step(Liveness(opened_at, received_at, heartbeat_at, is_suspect), now, TIMINGS)
    silent_s = now - max(received_at, heartbeat_at)
    if received_at < heartbeat_at and silent_s >= TIMINGS.reply_timeout_s:
        assert isinstance(step, CloseSocket if is_suspect else MarkSuspect | CloseSocket)
    if isinstance(step, Wait):
        assert step.seconds > 0
        assert now + step.seconds <= opened_at + TIMINGS.recycle_s + 1e-6


@given(st.lists(st.floats(0, 30), max_size=20), st.floats(5, 60), st.floats(1, 60))
def test_heartbeat_keeps_a_socket_only_while_replies_are_in_time(
    delays_s: list[float], heartbeat_interval_s: float, reply_timeout_s: float
) -> None:
    """Simulate the time: the n-th heartbeat gets its reply after the n-th delay, later ones get none."""
    timings = RealtimeTimings(heartbeat_interval_s=heartbeat_interval_s, reply_timeout_s=reply_timeout_s, recycle_s=1e9)
    now = received_at = heartbeat_at = 0.0
    is_suspect = False
    remaining_delays = iter(delays_s)
    reply_at = float("inf")
    while not isinstance(
        step := next_step(Liveness(0, received_at, heartbeat_at, is_suspect), now, timings), CloseSocket
    ):
        if isinstance(step, SendHeartbeat):
            heartbeat_at, reply_at, is_suspect = now, now + next(remaining_delays, float("inf")), False
            assert heartbeat_at - received_at <= heartbeat_interval_s / 2 + 1e-6
        elif isinstance(step, MarkSuspect):
            assert not is_suspect
            assert now - received_at <= heartbeat_interval_s / 2 + reply_timeout_s / 4 + 1e-6
            is_suspect = True
        else:
            now += min(step.seconds, max(0.0, reply_at - now))
        if now >= reply_at:
            received_at, reply_at = now, float("inf")
    in_time = next((n for n, delay in enumerate(delays_s) if delay > reply_timeout_s), len(delays_s))
    assert len(delays_s) - len(list(remaining_delays)) >= in_time
    assert now - received_at <= heartbeat_interval_s / 2 + reply_timeout_s + 1e-6


REASONS = st.text() | st.builds(
    "{}{}{}".format,
    st.text(max_size=3),
    st.sampled_from([NOT_ALLOWED, EXPIRED, "Too many messages", "TopicNameRequired: x", "UnableToReplayMessages: x"]),
    st.text(max_size=3),
)
LEFT = st.one_of(
    st.builds(JoinRejected, REASONS),
    st.builds(ChannelFailed, REASONS),
    st.builds(SocketLost, REASONS),
    st.just(JoinTimedOut()),
    st.just(ClosedByServer()),
)


@given(LEFT)
def test_rejoin_stops_only_on_a_server_rejection_after_token_renewal(left: LeaveReason) -> None:
    first, second = after_leaving(left, can_renew=True), after_leaving(left, can_renew=False)
    if isinstance(first, RenewToken):
        assert isinstance(second, GiveUp)
        assert isinstance(second.error, Unauthorized)
    else:
        assert type(first) is type(second)
    if isinstance(second, GiveUp):
        assert isinstance(left, JoinRejected | ChannelFailed)
        assert isinstance(second.error, PermanentError)


@given(st.lists(st.tuples(st.sampled_from(["opened", "open failed", "lost"]), st.floats(0, 120))))
def test_backoff_counts_each_failure_once_until_a_stable_minute(events: list[tuple[str, float]]) -> None:
    backoff = Backoff(stable_s=60)
    for event, age_s in events:
        before, was_waiting = backoff.failures, backoff.waiting
        match event:
            case "opened":
                backoff.record_opened()
                assert (backoff.failures, backoff.waiting) == (before, False)
            case "open failed":
                backoff.record_open_failed()
                assert (backoff.failures, backoff.waiting) == (before + 1, True)
            case "lost":
                backoff.record_lost(age_s)
                counted = before if was_waiting else 1 if age_s >= 60 else before + 1
                assert (backoff.failures, backoff.waiting) == (counted, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps({"reason": "TopicNameRequired: x"}), "TopicNameRequired: x"),
        (json.dumps({"message": "Token has expired", "status": "error"}), "Token has expired"),
        (json.dumps({}), "{}"),
        ("[1]", "[1]"),
        ("not JSON", "not JSON"),
    ],
)
def test_error_reason_is_parsed_from_the_text_of_the_client_library(text: str, reason: str) -> None:
    assert error_reason(text) == reason
