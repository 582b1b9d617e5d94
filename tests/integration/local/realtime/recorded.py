"""Loads recordings of the platform's Realtime and normalizes frames for comparison.

Values that differ between runs are replaced on both sides: identifiers by numbers in order of appearance, times and
ages by words. The rest must be equal.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "recordings" / "realtime"

ABSENT = frozenset({"c_xml"})
"""The embedded Postgres has no XML support."""
REQUEST_MS = 200
"""The longest duration of a recorded request."""
NORMAL_CLOSING = 1000

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FIXED_UUID = re.compile(r".{8}-0000-4000-8000-.{12}|11111111-1111-4111-8111-111111111111")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_AGE = re.compile(r"expired \d+ seconds ago")
_CUT = re.compile(r"^(a+)\.\.\.\((\d+) chars\)$")

Step = dict[str, Any]


def load(name: str) -> list[Step]:
    """Load the steps of a recording, each request before its effects."""
    steps: list[Step] = []
    for step in json.loads((FOLDER / f"{name}.json").read_text())["steps"]:
        if step["dir"] == "http":
            # Requests are recorded at their response, often later than the frames that they cause.
            at = len(steps)
            while at and _is_effect(steps[at - 1]) and steps[at - 1]["t_ms"] > step["t_ms"] - REQUEST_MS:
                at -= 1
            steps.insert(at, step)
        else:
            steps.append(step)
    return steps


def _is_effect(step: Step) -> bool:
    return step["dir"] == "recv" or (step["dir"] == "closed" and step["code"] != NORMAL_CLOSING)


def restore(value: Any) -> Any:
    """Expand shortened strings."""
    match value:
        case dict():
            return {key: restore(item) for key, item in value.items()}
        case list():
            return [restore(item) for item in value]
        case str() if found := _CUT.match(value):
            return "a" * int(found[2])
        case _:
            return value


@dataclass
class Comparable:
    """Normalizes the frames of one side; identifiers are numbered in order of appearance."""

    _names: dict[Any, str] = field(default_factory=dict)

    def frame(self, data: str | bytes) -> Any:
        """Return a normalized frame."""
        if isinstance(data, bytes):
            return self.value(decode_binary(data))
        return self.value(json.loads(data))

    def value(self, value: Any, key: str = "") -> Any:
        """Return a normalized part of a frame."""
        match value:
            case dict():
                return {name: self.value(item, name) for name, item in value.items() if name not in ABSENT}
            case list():
                return [self.value(item, key) for item in value]
            case str():
                return self._text(value, key)
            case int() if key in ("id", "ids") and value >= 1000 and not isinstance(value, bool):
                return self._named(value, "binding")
            case _:
                return value

    def _text(self, value: str, key: str) -> Any:
        if key in ("phx_ref", "phx_ref_prev"):
            return self._named(value, "presence")
        if _UUID.fullmatch(value) and not _FIXED_UUID.fullmatch(value):
            return self._named(value, "uuid")
        if key == "commit_timestamp" and _TIME.fullmatch(value):
            return "<time>"
        return _AGE.sub("expired <age> seconds ago", value)

    def _named(self, value: Any, kind: str) -> str:
        return self._names.setdefault(value, f"<{kind} {len(self._names)}>")


def decode_binary(data: bytes) -> Any:
    """Return the fields of a binary frame from the server."""
    kind = data[0]
    sizes = list(data[1:4]) if kind == 4 else list(data[1:3])
    at = 5 if kind == 4 else 3
    fields = []
    for size in sizes:
        fields.append(data[at : at + size].decode())
        at += size
    if kind != 4:
        return {"kind": kind, "fields": fields, "payload": data[at:].hex()}
    metadata = json.loads(fields[2]) if fields[2] else None
    payload = json.loads(data[at:]) if data[4] == 1 else data[at:].hex()
    return {"kind": kind, "topic": fields[0], "event": fields[1], "metadata": metadata, "payload": payload}
