"""Decoding and encoding of frames in both protocol versions."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.protocol import (
    BinaryPush,
    GenericBroadcast,
    Malformed,
    Push,
    UserBroadcast,
    Version,
    decode_binary,
    decode_text,
    dump,
)

V1, V2 = Version.V1, Version.V2

words = st.text(st.characters(codec="utf-8"), max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=10)
versions = st.sampled_from(Version)


def write(version: Version, join_ref: Any, ref: Any, topic: Any, event: Any, payload: Any) -> str:
    if version is V1:
        names = ("join_ref", "ref", "topic", "event", "payload")
        return json.dumps(dict(zip(names, (join_ref, ref, topic, event, payload), strict=True)))
    return json.dumps([join_ref, ref, topic, event, payload])


@given(versions, leaves, leaves, words, words, values)
def test_frame_of_either_protocol_is_decoded(
    version: Version, join_ref: Any, ref: Any, topic: str, event: str, payload: Any
) -> None:
    frame = decode_text(version, write(version, join_ref, ref, topic, event, payload))
    assert (frame.join_ref, frame.ref, frame.topic, frame.event) == (join_ref, ref, topic, event)
    assert frame.payload == payload == json.loads(frame.text)


@given(leaves, leaves, words, words, values)
def test_push_is_encoded_for_both_protocols(join_ref: Any, ref: Any, topic: str, event: str, payload: Any) -> None:
    """Protocol 1.0.0 has no join_ref; all other fields are in both."""
    push = Push(topic, event, dump(payload), ref=ref, join_ref=join_ref)
    assert json.loads(push.encode(V1)) == {"ref": ref, "event": event, "payload": payload, "topic": topic}
    assert json.loads(push.encode(V2)) == [join_ref, ref, topic, event, payload]


@given(versions, st.text() | words.map(json.dumps))
def test_frame_of_any_text_is_decoded_or_malformed(version: Version, text: str) -> None:
    with suppress(Malformed):
        decode_text(version, text)


@given(versions, st.binary())
def test_frame_of_any_bytes_is_decoded_or_malformed(version: Version, data: bytes) -> None:
    with suppress(Malformed):
        decode_binary(version, data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{bad",
        "[]",
        "{}",
        '"x"',
        "null",
        '["1","1","t","e"]',
        '{"topic":"t","event":"e","payload":{}}',
        '{"topic":"t","payload":{},"ref":"1"}',
        '{"topic":1,"event":"e","payload":{},"ref":"1"}',
        '["1","1",2,"e",{}]',
        '["1","1","t",2,{}]',
        '["1","1","t","e",NaN]',
        '["1","1","\\ud800","e",{}]',
        '["1","1","t","e","\\ud800"]',
        "[" * 100_000,
    ],
)
def test_frame_that_is_invalid_is_malformed(text: str) -> None:
    for version in Version:
        with pytest.raises(Malformed):
            decode_text(version, text)


def test_frame_of_the_other_protocol_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode_text(V1, '["1","2","phoenix","heartbeat",{}]')
    with pytest.raises(Malformed):
        decode_text(V2, '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"2"}')
    with pytest.raises(Malformed):
        decode_binary(V1, bytes.fromhex("0301020b0800013135307265616c74696d653a626362696e5f6a736f6e7b7d"))


def test_frame_fields_after_the_fifth_are_ignored() -> None:
    assert decode_text(V2, '["1","2","t","e",{},7]') == decode_text(V2, '["1","2","t","e",{}]')


@pytest.mark.parametrize(("encoding", "is_json"), [(0, False), (1, True), (2, True)])
def test_binary_push_encoding_other_than_zero_is_json(encoding: int, is_json: bool) -> None:
    assert decode_binary(V2, bytes((3, 0, 0, 1, 1, 0, encoding)) + b"te{}").is_json is is_json


def test_binary_push_of_a_recording_is_decoded() -> None:
    data = bytes.fromhex(
        "0301020b080f013135327265616c74696d653a626362696e5f6d6574617b227265706c6179223a747275657d7b226e223a357d"
    )
    assert decode_binary(V2, data) == BinaryPush("1", "52", "realtime:bc", "bin_meta", b'{"n":5}', is_json=True)
    data = bytes.fromhex("0001020b093135337265616c74696d653a626362726f6164636173747261772d6279746573")
    assert decode_binary(V2, data) == BinaryPush("1", "53", "realtime:bc", "broadcast", b"raw-bytes", generic=True)


@pytest.mark.parametrize(
    "data", ["", "03", "000102", "030102", "09aa", "0301020b08000131", "0302000000000180ff", "030000010102017465787b"]
)
def test_binary_push_that_is_truncated_is_malformed(data: str) -> None:
    with pytest.raises(Malformed):
        decode_binary(V2, bytes.fromhex(data))


def test_broadcast_is_binary_in_protocol_2_and_text_in_protocol_1() -> None:
    message = UserBroadcast("realtime:bc", "bin_json", b'{"n": 4, "a":1.0}', is_json=True)
    assert message.encode(V2) == bytes.fromhex(
        "040b0800017265616c74696d653a626362696e5f6a736f6e7b226e223a20342c202261223a312e307d"
    )
    text = message.encode(V1)
    assert isinstance(text, str)
    assert json.loads(text)["payload"] == {"event": "bin_json", "payload": {"n": 4, "a": 1.0}, "type": "broadcast"}


def test_broadcast_of_bytes_has_no_text_form_in_protocol_1() -> None:
    message = UserBroadcast("realtime:bc", "bin_bin", b"\x00\x01\xff", is_json=False)
    assert message.encode(V1) is None
    assert message.encode(V2) == bytes.fromhex("040b0700007265616c74696d653a626362696e5f62696e0001ff")


@pytest.mark.parametrize("payload", [b"\xff", b"{", b"NaN", b"[" * 100_000])
def test_broadcast_with_invalid_json_has_no_text_form(payload: bytes) -> None:
    assert UserBroadcast("realtime:t", "e", payload, is_json=True).encode(V1) is None


def test_broadcast_with_long_names_is_sent_as_text() -> None:
    message = UserBroadcast("realtime:" + "x" * 300, "e", b"{}", is_json=True, metadata='{"id":"1"}')
    text = message.encode(V2)
    assert isinstance(text, str)
    assert json.loads(text)[4] == {"event": "e", "meta": {"id": "1"}, "payload": {}, "type": "broadcast"}


def test_generic_broadcast_has_only_a_binary_form() -> None:
    message = GenericBroadcast("realtime:bc", "broadcast", b"raw-bytes")
    assert message.encode(V2) == bytes.fromhex("020b097265616c74696d653a626362726f6164636173747261772d6279746573")
    assert message.encode(V1) is None
    assert GenericBroadcast("x" * 300, "broadcast", b"").encode(V2) is None
