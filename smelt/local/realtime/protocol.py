"""The wire format of Realtime: frames of protocol 1.0.0 (objects) and 2.0.0 (arrays and binary), without I/O.

Outgoing payloads are JSON text, so that a payload for many sockets is encoded once and numbers keep their exact form.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

from smelt.pickling import PicklableError

Json = object
"""A JSON value from `json.loads`. References are of this type, since clients may choose any value."""

PHOENIX: Final = "phoenix"
TOPIC_PREFIX: Final = "realtime:"

_PUSH, _BROADCAST, _USER_PUSH, _USER_BROADCAST = 0, 2, 3, 4
_FRAME_FIELDS: Final = 5
_MAX_FIELD_BYTES: Final = 255
_BYTES_ENCODING: Final = 0


class Version(StrEnum):
    """The protocol versions, by the value of `vsn`."""

    V1 = "1.0.0"
    V2 = "2.0.0"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame from a client; `text` is the payload as JSON text for relaying."""

    join_ref: Json
    ref: Json
    topic: str
    event: str
    payload: Json
    text: str


@dataclass(frozen=True, slots=True)
class BinaryPush:
    """A binary frame from a client of protocol 2.0.0: a broadcast of JSON or bytes.

    `generic` frames are pushes of the Phoenix framework, without metadata and encoding.
    """

    join_ref: str
    ref: str
    topic: str
    event: str
    payload: bytes
    is_json: bool = False
    generic: bool = False


class Malformed(PicklableError, ValueError):
    """A frame that does not follow the protocol; the server ignores it."""


def decode_text(version: Version, text: str) -> Frame:
    """Parse a text frame; raise Malformed."""
    try:
        value = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("not valid JSON") from error
    return _from_object(value) if version is Version.V1 else _from_array(value)


def decode_binary(version: Version, data: bytes) -> BinaryPush:
    """Parse a binary frame, which protocol 1.0.0 does not have; raise Malformed."""
    if version is Version.V1:
        raise Malformed("protocol 1.0.0 has no binary frames")
    try:
        return _binary_push(data)
    except (IndexError, ValueError, RecursionError) as error:
        raise Malformed("not a binary frame of this protocol") from error


def dump(value: Json) -> str:
    """Return compact JSON; raise Malformed for text that UTF-8 cannot encode or too deep nesting."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise Malformed("the value cannot be encoded") from error
    return text


@dataclass(frozen=True, slots=True)
class Push:
    """A text frame to one channel or, without references, to all channels of a topic; `payload` is JSON text."""

    topic: str
    event: str
    payload: str
    ref: Json = None
    join_ref: Json = None

    def encode(self, version: Version) -> str:
        """Encode the frame."""
        topic, event, ref = dump(self.topic), dump(self.event), dump(self.ref)
        if version is Version.V1:
            return f'{{"ref":{ref},"event":{event},"payload":{self.payload},"topic":{topic}}}'
        return f"[{dump(self.join_ref)},{ref},{topic},{event},{self.payload}]"


@dataclass(frozen=True, slots=True)
class UserBroadcast:
    """A broadcast from a binary push, over REST or from the database; protocol 2.0.0 gets a binary frame.

    `metadata` is JSON text or empty. Protocol 1.0.0 gets a text frame, or nothing if the payload is not JSON.
    """

    topic: str
    event: str
    payload: bytes
    is_json: bool
    metadata: str = ""

    def encode(self, version: Version) -> str | bytes | None:
        """Encode the frame; None if the protocol cannot carry it."""
        if version is Version.V2:
            fields = (self.topic.encode(), self.event.encode(), self.metadata.encode())
            if all(len(field) <= _MAX_FIELD_BYTES for field in fields):
                head = bytes((_USER_BROADCAST, *map(len, fields), int(self.is_json)))
                return b"".join((head, *fields, self.payload))
        payload = _json_text(self.payload) if self.is_json else None
        if payload is None:
            return None
        meta = f'"meta":{self.metadata},' if self.metadata else ""
        body = f'{{"event":{dump(self.event)},{meta}"payload":{payload},"type":"broadcast"}}'
        return Push(self.topic, "broadcast", body).encode(version)


@dataclass(frozen=True, slots=True)
class GenericBroadcast:
    """A relayed binary push of the Phoenix framework; protocol 1.0.0 gets nothing."""

    topic: str
    event: str
    payload: bytes

    def encode(self, version: Version) -> bytes | None:
        """Encode the frame; None if the protocol cannot carry it."""
        topic, event = self.topic.encode(), self.event.encode()
        if version is Version.V1 or max(len(topic), len(event)) > _MAX_FIELD_BYTES:
            return None
        return bytes((_BROADCAST, len(topic), len(event))) + topic + event + self.payload


Outgoing = Push | UserBroadcast | GenericBroadcast


def _json_text(data: bytes) -> str | None:
    try:
        text = data.decode()
        json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return None
    return text


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def _from_object(value: Json) -> Frame:
    if not isinstance(value, dict) or not {"topic", "event", "payload", "ref"} <= value.keys():
        raise Malformed("not an object with topic, event, payload and ref")
    return _frame(value.get("join_ref"), value["ref"], value["topic"], value["event"], value["payload"])


def _from_array(value: Json) -> Frame:
    if not isinstance(value, list) or len(value) < _FRAME_FIELDS:
        raise Malformed("not an array of five")
    return _frame(*value[:_FRAME_FIELDS])


def _frame(join_ref: Json, ref: Json, topic: Json, event: Json, payload: Json) -> Frame:
    if not isinstance(topic, str) or not isinstance(event, str):
        raise Malformed("topic and event must be strings")
    dump([join_ref, ref, topic])  # Replies contain them, so they must be encodable.
    return Frame(join_ref, ref, topic, event, payload, dump(payload))


def _binary_push(data: bytes) -> BinaryPush:
    kind = data[0]
    if kind == _USER_PUSH:
        *sizes, encoding = data[1:7]
        (join_ref, ref, topic, event, metadata), payload = _fields(data[7:], sizes)
        json.loads(metadata or "{}")  # The metadata is not used, but must be JSON.
        return BinaryPush(join_ref, ref, topic, event, payload, is_json=encoding != _BYTES_ENCODING)
    if kind == _PUSH:
        (join_ref, ref, topic, event), payload = _fields(data[5:], [data[1], data[2], data[3], data[4]])
        return BinaryPush(join_ref, ref, topic, event, payload, generic=True)
    raise Malformed("unknown kind of binary frame")


def _fields(data: bytes, sizes: list[int]) -> tuple[list[str], bytes]:
    if sum(sizes) > len(data):
        raise Malformed("truncated binary frame")
    fields, start = [], 0
    for size in sizes:
        fields.append(data[start : start + size].decode())
        start += size
    return fields, data[start:]
