"""Parsing of joins."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.join import InvalidJoin, JoinRequest, Replay, parse_join

words = st.text(max_size=5)
leaves = st.none() | st.booleans() | st.integers() | words
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=5)


def test_join_config_of_the_clients_is_parsed() -> None:
    config = {
        "broadcast": {"ack": True, "self": False, "replication_ready": True},
        "presence": {"key": "k", "enabled": True},
        "postgres_changes": [{"event": "*"}],
        "private": True,
    }
    assert parse_join("room", {"config": config, "access_token": "t"}) == JoinRequest(
        private=True,
        broadcast_ack=True,
        replication_ready=True,
        presence_key="k",
        presence_enabled=True,
        bindings=({"event": "*"},),
        access_token="t",
    )


def test_join_config_may_be_missing_or_null() -> None:
    assert parse_join("room", {"config": {}}) == JoinRequest()
    assert parse_join("room", {"config": None, "access_token": 5}) == JoinRequest()
    config = {"broadcast": None, "presence": {"key": [5]}, "postgres_changes": "x"}
    assert parse_join("room", {"config": config}) == JoinRequest()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        *((value, False) for value in (False, "false", "maybe", "", 1, None)),
    ],
)
def test_join_config_booleans_may_be_strings(value: Any, expected: bool) -> None:
    config = {"private": value, "broadcast": {"ack": value, "self": value}, "presence": {"enabled": value}}
    assert parse_join("room", {"config": config}) == JoinRequest(
        private=expected, broadcast_ack=expected, broadcast_self=expected, presence_enabled=expected
    )


@pytest.mark.parametrize(("key", "name"), [("k", "k"), (5, "5"), (True, "true"), (1.5, "1.5"), (None, ""), ({}, "")])
def test_join_config_presence_key_may_be_a_number(key: Any, name: str) -> None:
    assert parse_join("room", {"config": {"presence": {"key": key}}}).presence_key == name


@pytest.mark.parametrize(
    ("name", "binding"),
    [
        ("room3", {"schema": "room3"}),
        ("public:todos", {"schema": "public", "table": "todos"}),
        ("public:todos:id=eq.1:2", {"schema": "public", "table": "todos", "filter": "id=eq.1:2"}),
    ],
)
def test_join_without_config_takes_the_binding_from_the_topic(name: str, binding: dict[str, str]) -> None:
    assert parse_join(name, {}).bindings == (binding,)


@pytest.mark.parametrize("config", ["str", {"broadcast": "nope"}, {"presence": 5}])
def test_join_config_of_the_wrong_shape_is_rejected(config: Any) -> None:
    with pytest.raises(InvalidJoin, match="UnknownErrorOnChannel: no function clause"):
        parse_join("room", {"config": config})


def test_join_payload_that_is_not_an_object_is_quoted_in_the_error() -> None:
    with pytest.raises(InvalidJoin, match=r"expected params to be a :map, got: `\[\]`"):
        parse_join("room", [])


@pytest.mark.parametrize(
    ("replay", "expected"),
    [
        ({"since": 7, "limit": 3}, Replay(7, 3)),
        ({"since": 7}, Replay(7, 25)),
        ({"since": 7, "limit": None}, Replay(7, 25)),
        ({"since": 7, "limit": 0}, Replay(7, 1)),
        ({"since": 7, "limit": 99}, Replay(7, 25)),
        (5, None),
        (None, None),
    ],
)
def test_join_replay_limit_is_bounded(replay: Any, expected: Replay | None) -> None:
    assert parse_join("room", {"config": {"private": True, "broadcast": {"replay": replay}}}).replay == expected


@pytest.mark.parametrize("replay", [{"since": "x"}, {"limit": 3}, {"since": 7, "limit": "x"}, {"since": True}])
def test_join_replay_requires_numbers(replay: Any) -> None:
    with pytest.raises(InvalidJoin, match="Replay params are not valid"):
        parse_join("room", {"config": {"private": True, "broadcast": {"replay": replay}}})


@pytest.mark.parametrize("replay", [{}, {"since": 7}, 5, None])
def test_join_replay_is_rejected_on_a_public_channel(replay: Any) -> None:
    with pytest.raises(InvalidJoin, match="Replay is not allowed for public channels"):
        parse_join("room", {"config": {"broadcast": {"replay": replay}}})


def test_join_binding_must_be_an_object_or_null() -> None:
    bindings = [{"event": "*"}, None, {}]
    assert parse_join("room", {"config": {"postgres_changes": bindings}}).bindings == ({"event": "*"}, {})
    with pytest.raises(InvalidJoin, match='expected a map, got:\n\n    "x"'):
        parse_join("room", {"config": {"postgres_changes": [{}, "x"]}})


@given(words, values)
def test_join_payload_of_any_shape_is_parsed_or_rejected(name: str, payload: Any) -> None:
    with suppress(InvalidJoin):
        parse_join(name, payload)
