"""The messages between a worker and a child: a JSON object of limited size after its length in four bytes. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from smelt.pickling import PicklableError

HEADER_BYTES: Final = 4
MAX_MESSAGE_BYTES: Final = 1024 * 1024
# Descriptors that one message carries.
MAX_DESCRIPTORS: Final = 4

Message = Mapping[str, Any]

READY: Final[Message] = {"type": "ready"}
"""The first message of a child, once its modules are imported."""


class InvalidFrame(PicklableError):
    """The other side sent something that is not a message."""


def frame(message: Message) -> bytes:
    """Return the bytes to send for a message; raise `ValueError` if it is too large or not representable in JSON."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(body)} bytes, {MAX_MESSAGE_BYTES} are allowed")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_bytes(header: bytes) -> int:
    """Return the size of the body that follows a header; raise `InvalidFrame` if it is too large."""
    size = int.from_bytes(header, "big")
    if size > MAX_MESSAGE_BYTES:
        raise InvalidFrame(f"a message of {size} bytes, {MAX_MESSAGE_BYTES} are allowed")
    return size


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the message; raise `InvalidFrame` if it is not a JSON object."""
    try:
        message = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as exc:
        raise InvalidFrame(f"no JSON: {type(exc).__name__}") from exc
    if not isinstance(message, dict):
        raise InvalidFrame(f"no JSON object: {type(message).__name__}")
    return message


def _reject_constant(name: str) -> None:
    raise ValueError(name)
