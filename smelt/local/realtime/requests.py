"""Parses the bodies of REST broadcasts; errors have the platform's wording. No I/O."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from smelt.local.realtime.hub import ChannelKey
from smelt.local.realtime.protocol import Json, Push, UserBroadcast, dump
from smelt.pickling import PicklableError

_BLANK = "can't be blank"
_INVALID = "is invalid"


class InvalidJson(PicklableError, ValueError):
    """A body that is not valid JSON."""


class InvalidMessages(PicklableError, ValueError):
    """Messages that cannot be sent; `errors` has an entry for each."""

    def __init__(self, errors: Json) -> None:
        super().__init__("invalid messages")
        self.errors = errors


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """A message of a batch and its channel."""

    key: ChannelKey
    message: Push


def parse_json(body: bytes) -> Json:
    """Parse a body; an empty body becomes an empty object. Raises InvalidJson."""
    if not body:
        return {}
    try:
        value = json.loads(body)
        dump(value)
    except (ValueError, RecursionError) as error:
        raise InvalidJson from error
    return value


def parse_batch(body: Json, max_bytes: int) -> list[BatchMessage]:
    """Parse `{"messages": [...]}`; raise InvalidMessages if any of them is invalid."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if messages is None or messages == []:
        raise InvalidMessages([_BLANK])
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InvalidMessages([_INVALID])
    errors = [_check(message, max_bytes) for message in messages]
    if any(errors):
        raise InvalidMessages(errors)
    return [_batch_message(message) for message in messages]


def single_message(key: ChannelKey, event: str, body: bytes, *, is_json: bool) -> UserBroadcast:
    """Return the message of a single broadcast; a JSON body that is not an object is wrapped in the key `_json`.

    Raises InvalidJson.
    """
    if not is_json:
        return UserBroadcast(key.topic, event, body, is_json=False)
    payload = parse_json(body)
    if not isinstance(payload, dict):
        payload = {"_json": payload}
    return UserBroadcast(key.topic, event, dump(payload).encode(), is_json=True)


def _check(message: dict[str, Json], max_bytes: int) -> dict[str, Json]:
    errors: dict[str, Json] = {}
    for field in ("topic", "event"):
        text = message.get(field)
        if text is None or (isinstance(text, str) and not text.strip()):
            errors[field] = [_BLANK]
        elif not isinstance(text, str):
            errors[field] = [_INVALID]
    if message.get("payload") is None:
        errors["payload"] = [_BLANK]
    elif not isinstance(message["payload"], dict):
        errors["payload"] = [_INVALID]
    elif len(dump(message["payload"])) > max_bytes:
        errors["payload"] = ["Payload size exceeds tenant limit"]
    if _boolean(message.get("private")) is None:
        errors["private"] = [_INVALID]
    if not isinstance(message.get("id"), str | None):
        errors["id"] = [_INVALID]
    return errors


def _boolean(value: Json) -> bool | None:
    match value:
        case True | "true" | "1":
            return True
        case False | "false" | "0" | None:
            return False
        case _:
            return None


def _batch_message(message: dict[str, Json]) -> BatchMessage:
    key = ChannelKey(str(message["topic"]), private=_boolean(message.get("private")) is True)
    payload: dict[str, Json] = {"event": message["event"], "payload": message["payload"], "type": "broadcast"}
    if message.get("id"):
        payload["meta"] = {"id": message["id"]}
    return BatchMessage(key, Push(key.topic, "broadcast", dump(payload)))


def private_topics(messages: Sequence[BatchMessage]) -> set[str]:
    """Return the private channels of a batch; each is authorized once."""
    return {message.key.name for message in messages if message.key.private}
