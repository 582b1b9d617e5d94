"""JSON bodies, read and refused as the platform's server does.

Its validator coerces: `"5"` is an integer, `null` an empty string, a lone value a list of one. All complaints about a
body come in one sentence, first what is missing, then what is wrong, in the order of the schema.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request

from smelt.local.storage import errors
from smelt.local.storage.media import SIZE_PATTERN, parse_size
from smelt.pickling import PicklableError

MAX_BODY_BYTES: Final = 1024 * 1024

# One of a pair makes a character, one alone makes none.
_ESCAPED_SURROGATE: Final = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
# As many digits as an integer of the database may have.
_INTEGER: Final = re.compile(r"\s*[+-]?\d{1,18}(?:\.0{0,18})?\s*", re.ASCII)
_CONTENT_TYPE: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+\s*(?:;.*)?", re.ASCII)


async def read_body(request: Request) -> object:
    """Answer the parsed JSON body; None where there is none, or the type is not JSON."""
    content_type = request.headers.get("content-type")
    if content_type is None:
        return None
    if _CONTENT_TYPE.fullmatch(content_type) is None:
        raise errors.invalid_content_type()
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return None
    raw = await _read_bounded(request)
    if not raw:
        raise errors.unreadable_body("Body cannot be empty when content-type is set to 'application/json'")
    try:
        return parse_json(raw)
    except InvalidJson:
        message = "Body is not valid JSON but content-type is set to 'application/json'"
        raise errors.unreadable_body(message) from None


class InvalidJson(PicklableError, ValueError):
    """A text that is no JSON, or more than can be held."""


def parse_json(text: str | bytes) -> Any:
    """Answer the value of a JSON text as JavaScript reads it: strictly, with half characters replaced; or InvalidJson."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=_refuse_constant)
        return _mend(value) if _ESCAPED_SURROGATE.search(decoded) else value
    except (ValueError, RecursionError) as exc:
        raise InvalidJson("this is no JSON") from exc


def _refuse_constant(name: str) -> None:
    raise InvalidJson(name)


def _mend(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_mend(item) for item in value]
        case dict():
            return {_mend(key): _mend(item) for key, item in value.items()}
        case _:
            return value


async def _read_bounded(request: Request) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            raise errors.body_too_large()
    return bytes(received)


class Fields:
    """The fields of a JSON object, taken one by one; `check()` refuses with all complaints at once."""

    def __init__(self, value: object, where: str = "body") -> None:
        if not isinstance(value, dict):
            raise errors.invalid_request(f"{where} must be object")
        self._values: dict[str, object] = value
        self._where = where
        self._missing: list[str] = []
        self._wrong: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        """Take a string."""
        value = self._take(name, required=required, default=default)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        if isinstance(value, str):
            return value
        self._complain(name, "must be string")
        return default

    def choice(self, name: str, default: str, allowed: Sequence[str], *, required: bool = False) -> str:
        """Take one of the allowed strings."""
        value = self.text(name, default, required=required)
        if value not in allowed:
            self._complain(name, "must be equal to one of the allowed values")
        return value

    def integer(self, name: str, default: int, minimum: int, *, required: bool = False) -> int:
        """Take an integer that is at least `minimum`."""
        value = _as_integer(self._take(name, required=required, default=default))
        if value is None:
            self._complain(name, "must be integer")
            return default
        if value < minimum:
            self._complain(name, f"must be >= {minimum}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Take a boolean."""
        match self._take(name, required=False, default=default):
            case bool() as value:
                return value
            case "true" | 1:
                return True
            case "false" | 0 | None:
                return False
            case _:
                self._complain(name, "must be boolean")
                return default

    def texts(self, name: str) -> list[str]:
        """Take a list of at least one string."""
        value = self._take(name, required=True, default=[""])
        items = value if isinstance(value, list) else [value]
        if not items:
            self._complain(name, "must NOT have fewer than 1 items")
        for position, item in enumerate(items):
            if not isinstance(item, str):
                self._complain(f"{name}/{position}", "must be string")
        return [item for item in items if isinstance(item, str)]

    def optional_texts(self, name: str) -> list[str] | None:
        """Take a list of strings, or null."""
        value = self._values.get(name)
        if value is None:
            return None
        items = value if isinstance(value, list) else [value]
        return [str(item) for item in items]

    def size_limit(self, name: str) -> int | None:
        """Take a number of bytes, `2MB` and its like, or null."""
        value = self._values.get(name)
        if value is None:
            return None
        number = _as_integer(value)
        size = parse_size(value) if number is None and isinstance(value, str) else number
        if size is None:
            self._complain(name, "must be integer")
            self._complain(name, 'must pass "finite" keyword validation')
            self._complain(name, f'must match pattern "{SIZE_PATTERN}"')
            self._complain(name, "must match a schema in anyOf")
        return size

    def fields(self, name: str) -> "Fields | None":
        """Take an object; its complaints are its own."""
        value = self._values.get(name)
        return None if value is None else Fields(value, f"{self._where}/{name}")

    def check(self) -> None:
        """Refuse the body if anything is missing or wrong."""
        if self._missing or self._wrong:
            raise errors.invalid_request(", ".join(self._missing + self._wrong))

    def _take(self, name: str, *, required: bool, default: object) -> object:
        if name in self._values:
            return self._values[name]
        if required:
            self._missing.append(f"{self._where} must have required property '{name}'")
        return default

    def _complain(self, name: str, what: str) -> None:
        complaint = f"{self._where}/{name} {what}"
        if not any(missing.endswith(f"'{name}'") for missing in self._missing):
            self._wrong.append(complaint)


def _as_integer(value: object) -> int | None:
    match value:
        case None:
            return 0
        case bool() | int():
            return int(value)
        case float() if value.is_integer():
            return int(value)
        case str() if _INTEGER.fullmatch(value):
            return int(value.partition(".")[0])
        case _:
            return None
