"""The bodies of REST broadcasts."""

import json
from typing import Any

import pytest

from smelt.local.realtime.hub import ChannelKey
from smelt.local.realtime.requests import (
    InvalidJson,
    InvalidMessages,
    parse_batch,
    parse_json,
    private_topics,
    single_message,
)

GOOD = {"topic": "t", "event": "e", "payload": {"n": 1}}
BLANK = ["can't be blank"]


def errors(body: Any) -> Any:
    with pytest.raises(InvalidMessages) as caught:
        parse_batch(body, 100)
    return caught.value.errors


@pytest.mark.parametrize("body", [b"{nope", b"\xff", b"[" * 100_000, b'"\\ud800"'])
def test_http_broadcast_with_invalid_json_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json(body)


def test_http_broadcast_with_an_empty_body_is_an_empty_object() -> None:
    assert parse_json(b"") == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, BLANK),
        ([], BLANK),
        ({"messages": []}, BLANK),
        ({"messages": "x"}, ["is invalid"]),
        ({"messages": ["x"]}, ["is invalid"]),
        ({"messages": [{}]}, [{"topic": BLANK, "event": BLANK, "payload": BLANK}]),
        ({"messages": [{"topic": 5, "event": "", "payload": "x"}]},
         [{"topic": ["is invalid"], "event": BLANK, "payload": ["is invalid"]}]),
        ({"messages": [{**GOOD, "payload": {"x": "a" * 100}}]}, [{"payload": ["Payload size exceeds tenant limit"]}]),
        ({"messages": [{**GOOD, "private": "maybe"}]}, [{"private": ["is invalid"]}]),
        ({"messages": [{**GOOD, "private": 1}]}, [{"private": ["is invalid"]}]),
        ({"messages": [{**GOOD, "id": 5}]}, [{"id": ["is invalid"]}]),
        ({"messages": [{**GOOD, "topic": " \n"}]}, [{"topic": BLANK}]),
        ({"messages": [GOOD, {"topic": "t"}]}, [{}, {"event": BLANK, "payload": BLANK}]),
    ],
)  # fmt: skip
def test_http_broadcast_errors_are_reported_per_message(body: Any, expected: Any) -> None:
    assert errors(body) == expected


def test_http_broadcast_messages_become_broadcasts() -> None:
    plain, private = parse_batch({"messages": [{**GOOD, "id": "i"}, {**GOOD, "private": "true", "id": ""}]}, 100)
    assert (plain.key, private.key) == (ChannelKey("t", private=False), ChannelKey("t", private=True))
    assert json.loads(plain.message.payload) == {
        "event": "e",
        "meta": {"id": "i"},
        "payload": {"n": 1},
        "type": "broadcast",
    }
    assert "meta" not in json.loads(private.message.payload)
    assert private_topics([plain, private]) == {"t"}


def test_http_broadcast_of_a_single_message_uses_the_whole_body() -> None:
    key = ChannelKey("t", private=False)
    assert single_message(key, "e", b'{"n": 1}', is_json=True).payload == b'{"n":1}'
    assert single_message(key, "e", b"[1, 2]", is_json=True).payload == b'{"_json":[1,2]}'
    assert single_message(key, "e", b"\x00", is_json=False).payload == b"\x00"
