"""What the Realtime connection does about each thing that can happen to it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.realtime.decisions import (
    Backoff,
    Beat,
    ChannelFailed,
    ClosedByServer,
    Doubt,
    GiveUp,
    JoinRefused,
    JoinTimedOut,
    Left,
    Pace,
    Rejoin,
    Renew,
    Rest,
    Retire,
    SocketLost,
    SocketToken,
    Vitals,
    after_leaving,
    dial_error,
    error_reason,
    may_reuse,
    next_step,
)
from smelt.errors import Refused, RequestRefused, Unauthorized

PACE = Pace(clock_check_s=60)
NOT_ALLOWED = "Unauthorized: You do not have permissions to read from this Channel topic: x"
EXPIRED = "InvalidJWTToken: Token has expired 3 seconds ago"


@pytest.mark.parametrize(
    ("left", "wait"),
    [
        (JoinTimedOut(), "soon"),
        (ClosedByServer(), "soon"),
        (SocketLost("closed with 1006"), "now"),
        (JoinRefused("unmatched topic"), "soon"),
        (JoinRefused("ChannelRateLimitReached: Too many channels"), "rate_limit"),
        (ChannelFailed("Too many messages per second"), "rate_limit"),
        (ChannelFailed("Unauthorized by something else"), "soon"),
        (ChannelFailed("TopicNameRequired: not while joined"), "soon"),
    ],
)
def test_a_passing_end_is_followed_by_another_join(left: Left, wait: str) -> None:
    assert after_leaving(left, can_renew=True) == Rejoin(wait)


@pytest.mark.parametrize(
    "left",
    [
        JoinRefused(NOT_ALLOWED),
        JoinRefused(EXPIRED),
        JoinRefused("JwtSignatureError: Failed to validate JWT signature"),
        JoinRefused("MalformedJWT: The token provided is not a valid JWT"),
        ChannelFailed("Token has expired 0 seconds ago"),
    ],
)
def test_a_refused_token_is_renewed_once_and_then_surfaces(left: Left) -> None:
    assert after_leaving(left, can_renew=True) == Renew()
    following = after_leaving(left, can_renew=False)
    assert isinstance(following, GiveUp)
    assert isinstance(following.error, Unauthorized)


def test_a_join_that_never_can_succeed_is_given_up() -> None:
    following = after_leaving(JoinRefused("TopicNameRequired: You must provide a topic name"), can_renew=True)
    assert isinstance(following, GiveUp)
    assert isinstance(following.error, RequestRefused)


@pytest.mark.parametrize(
    "left",
    [
        ChannelFailed("Token has expired 0 seconds ago"),
        JoinRefused(EXPIRED),
        JoinRefused("JwtSignatureError: Failed to validate JWT signature"),
    ],
)
def test_an_issued_token_expires_once_the_server_refuses_it_after_it_was_accepted(
    left: JoinRefused | ChannelFailed,
) -> None:
    joined = SocketToken(is_issued=True)
    joined.accept()
    assert joined.refuse(left)
    refused_for_another_reason = SocketToken(is_issued=True)
    assert not refused_for_another_reason.refuse(JoinRefused(NOT_ALLOWED))
    assert refused_for_another_reason.refuse(left)
    assert not SocketToken(is_issued=True).refuse(left)


def test_a_token_of_the_caller_does_not_expire_with_its_socket() -> None:
    token = SocketToken(is_issued=False)
    token.accept()
    assert not token.refuse(ChannelFailed("Token has expired 0 seconds ago"))


@pytest.mark.parametrize("reason", [NOT_ALLOWED, "Too many messages per second", "UnableToConnectToProject: x"])
def test_an_error_about_something_else_does_not_expire_a_token(reason: str) -> None:
    token = SocketToken(is_issued=True)
    token.accept()
    assert not token.refuse(JoinRefused(reason))


def test_only_an_answered_refusal_leaves_the_topic_usable_on_its_socket() -> None:
    assert may_reuse(JoinRefused("unmatched topic"))
    assert not any(may_reuse(left) for left in (JoinTimedOut(), ClosedByServer(), ChannelFailed(""), SocketLost("")))


def test_only_a_refused_key_ends_dialling() -> None:
    assert isinstance(dial_error(401, "HTTP 401"), Unauthorized)
    assert [dial_error(status, "") for status in (None, 403, 404, 429, 500, 502, 503)] == [None] * 7


def test_sockets_that_break_together_are_one_failure() -> None:
    backoff = Backoff(stable_s=60)
    backoff.opened()
    for _ in range(10):
        backoff.lost(age_s=5)
    assert (backoff.failures, backoff.waiting) == (1, True)


def test_failures_add_up_until_a_socket_was_stable() -> None:
    backoff = Backoff(stable_s=60)
    for count in range(1, 5):
        backoff.dial_failed()
        assert backoff.failures == count
    backoff.opened()
    assert not backoff.waiting
    backoff.lost(age_s=1)
    assert backoff.failures == 5
    backoff.opened()
    backoff.lost(age_s=61)
    assert backoff.failures == 1


def test_an_expired_token_is_not_a_failure_unless_it_expired_within_seconds() -> None:
    backoff = Backoff(stable_s=60)
    backoff.dial_failed()
    backoff.opened()
    backoff.lost(age_s=20, token_expired=True)
    assert (backoff.failures, backoff.waiting) == (0, False)
    for count in range(1, 4):
        backoff.lost(age_s=1, token_expired=True)
        assert (backoff.failures, backoff.waiting) == (count, True)
        backoff.opened()


def test_a_quiet_socket_gets_a_heartbeat_when_it_is_time() -> None:
    vitals = Vitals(opened_at=0, heard_at=5, beat_at=0)
    assert next_step(vitals, 4, PACE) == Rest(6)
    assert next_step(vitals, 10, PACE) == Beat()


def test_a_socket_that_says_nothing_is_asked_early_and_one_that_speaks_is_asked_all_the_same() -> None:
    silent = Vitals(opened_at=0, heard_at=101, beat_at=100)
    assert next_step(silent, 105, PACE) == Rest(1)
    assert next_step(silent, 106, PACE) == Beat()
    speaking = Vitals(opened_at=0, heard_at=109.9, beat_at=100)
    assert next_step(speaking, 109, PACE) == Rest(1)
    assert next_step(speaking, 110, PACE) == Beat()


def test_a_late_answer_is_doubted_once() -> None:
    vitals = Vitals(opened_at=0, heard_at=5, beat_at=100)
    assert next_step(vitals, 102, PACE) == Rest(0.5)
    assert next_step(vitals, 102.5, PACE) == Doubt()
    assert next_step(replace(vitals, is_doubted=True), 102.5, PACE) == Rest(7.5)
    assert next_step(replace(vitals, is_doubted=True, heard_at=103), 104, PACE) == Rest(4)


def test_a_heartbeat_without_an_answer_retires_the_socket() -> None:
    vitals = Vitals(opened_at=0, heard_at=5, beat_at=100, is_doubted=True)
    assert next_step(vitals, 109, PACE) == Rest(1)
    assert isinstance(next_step(vitals, 110, PACE), Retire)


def test_a_socket_is_recycled_long_before_the_platform_ends_it() -> None:
    assert PACE.recycle_s <= 12 * 3600
    old = Vitals(opened_at=0, heard_at=PACE.recycle_s, beat_at=PACE.recycle_s - 1)
    assert next_step(old, PACE.recycle_s, PACE) == Retire("recycled")
    assert next_step(old, PACE.recycle_s - 1, PACE) == Rest(1)


def test_a_socket_does_not_outlive_a_sleep_of_the_machine() -> None:
    slept = Vitals(opened_at=0, heard_at=1, beat_at=0, drift_s=60)
    assert next_step(slept, 2, PACE) == Retire("the machine was asleep")
    set_back = Vitals(opened_at=0, heard_at=1, beat_at=0, drift_s=-60)
    assert next_step(set_back, 2, Pace()) == Rest(2)


def test_the_clock_is_looked_at_more_often_than_a_heartbeat_is_due() -> None:
    quiet = Vitals(opened_at=0, heard_at=1, beat_at=0)
    assert next_step(quiet, 2, Pace()) == Rest(Pace().clock_check_s)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.booleans(), st.floats(0, 1e5))
def test_silence_is_noticed_in_time_and_rest_never_oversleeps(
    opened_at: float, heard_at: float, beat_at: float, is_doubted: bool, now: float
) -> None:
    step = next_step(Vitals(opened_at, heard_at, beat_at, is_doubted), now, PACE)
    silent_s = now - max(heard_at, beat_at)
    if heard_at < beat_at and silent_s >= PACE.answer_s:
        assert isinstance(step, Retire if is_doubted else Doubt | Retire)
    if isinstance(step, Rest):
        assert step.seconds > 0
        assert now + step.seconds <= opened_at + PACE.recycle_s + 1e-6


@given(st.lists(st.floats(0, 30), max_size=20), st.floats(5, 60), st.floats(1, 60))
def test_a_socket_lives_while_it_answers_in_time_and_not_much_longer(
    answers_in_s: list[float], heartbeat_s: float, answer_s: float
) -> None:
    """Played through with a clock of its own: the n-th heartbeat is answered after so many seconds, the rest never."""
    pace = Pace(heartbeat_s=heartbeat_s, answer_s=answer_s, recycle_s=1e9)
    now = heard_at = beat_at = 0.0
    is_doubted = False
    answers = iter(answers_in_s)
    answer_at = float("inf")
    while not isinstance(step := next_step(Vitals(0, heard_at, beat_at, is_doubted), now, pace), Retire):
        if isinstance(step, Beat):
            beat_at, answer_at, is_doubted = now, now + next(answers, float("inf")), False
            assert beat_at - heard_at <= heartbeat_s / 2 + 1e-6
        elif isinstance(step, Doubt):
            assert not is_doubted
            assert now - heard_at <= heartbeat_s / 2 + answer_s / 4 + 1e-6
            is_doubted = True
        else:
            now += min(step.seconds, max(0.0, answer_at - now))
        if now >= answer_at:
            heard_at, answer_at = now, float("inf")
    in_time = next((n for n, answer in enumerate(answers_in_s) if answer > answer_s), len(answers_in_s))
    assert len(answers_in_s) - len(list(answers)) >= in_time
    assert now - heard_at <= heartbeat_s / 2 + answer_s + 1e-6


REASONS = st.text() | st.builds(
    "{}{}{}".format,
    st.text(max_size=3),
    st.sampled_from([NOT_ALLOWED, EXPIRED, "Too many messages", "TopicNameRequired: x", "UnableToReplayMessages: x"]),
    st.text(max_size=3),
)
LEFT = st.one_of(
    st.builds(JoinRefused, REASONS),
    st.builds(ChannelFailed, REASONS),
    st.builds(SocketLost, REASONS),
    st.just(JoinTimedOut()),
    st.just(ClosedByServer()),
)


@given(LEFT)
def test_only_an_answer_of_the_server_ends_the_joining_and_never_before_a_fresh_token_was_tried(left: Left) -> None:
    first, second = after_leaving(left, can_renew=True), after_leaving(left, can_renew=False)
    if isinstance(first, Renew):
        assert isinstance(second, GiveUp)
        assert isinstance(second.error, Unauthorized)
    else:
        assert type(first) is type(second)
    if isinstance(second, GiveUp):
        assert isinstance(left, JoinRefused | ChannelFailed)
        assert isinstance(second.error, Refused)


@given(st.lists(st.tuples(st.sampled_from(["opened", "dial failed", "lost"]), st.floats(0, 120))))
def test_every_failure_counts_once_until_a_stable_minute(events: list[tuple[str, float]]) -> None:
    backoff = Backoff(stable_s=60)
    for event, age_s in events:
        before, was_waiting = backoff.failures, backoff.waiting
        match event:
            case "opened":
                backoff.opened()
                assert (backoff.failures, backoff.waiting) == (before, False)
            case "dial failed":
                backoff.dial_failed()
                assert (backoff.failures, backoff.waiting) == (before + 1, True)
            case "lost":
                backoff.lost(age_s)
                counted = before if was_waiting else 1 if age_s >= 60 else before + 1
                assert (backoff.failures, backoff.waiting) == (counted, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps({"reason": "TopicNameRequired: x"}), "TopicNameRequired: x"),
        (json.dumps({"message": "Token has expired", "status": "error"}), "Token has expired"),
        (json.dumps({}), "{}"),
        ("[1]", "[1]"),
        ("no JSON", "no JSON"),
    ],
)
def test_the_reason_is_found_in_what_the_client_library_makes_of_it(text: str, reason: str) -> None:
    assert error_reason(text) == reason
