"""Reads and validates JSON bodies with the rules and error messages of the platform's server (Fastify).

Its validator coerces: `"5"` to an integer, `null` to an empty string, a single value to a list. One message lists all
errors of a body: first the missing properties, then the invalid ones, in the order of the schema.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request

from smelt.local.http import read_bounded
from smelt.local.storage import errors
from smelt.local.storage.media import SIZE_PATTERN, parse_size
from smelt.pickling import PicklableError

MAX_BODY_BYTES: Final = 1024 * 1024

# A surrogate is valid only in a pair.
_ESCAPED_SURROGATE: Final = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
# At most 18 digits, which always fit in a bigint.
_INTEGER: Final = re.compile(r"\s*[+-]?\d{1,18}(?:\.0{0,18})?\s*", re.ASCII)
_CONTENT_TYPE: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+\s*(?:;.*)?", re.ASCII)


async def read_body(request: Request) -> object:
    """Return the parsed JSON body; None without a Content-Type, or for one that is not JSON."""
    content_type = request.headers.get("content-type")
    if content_type is None:
        return None
    if _CONTENT_TYPE.fullmatch(content_type) is None:
        raise errors.invalid_content_type()
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return None
    raw = await read_bounded(request, MAX_BODY_BYTES, errors.body_too_large)
    if not raw:
        raise errors.unreadable_body("Body cannot be empty when content-type is set to 'application/json'")
    try:
        return parse_json(raw)
    except InvalidJsonBody:
        message = "Body is not valid JSON but content-type is set to 'application/json'"
        raise errors.unreadable_body(message) from None


class InvalidJsonBody(PicklableError, ValueError):
    """Text that is not valid JSON, or is nested too deeply."""


def parse_json(text: str | bytes) -> Any:
    """Parse JSON as JavaScript does: strictly, with lone surrogates replaced; raise InvalidJsonBody."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=_reject_constant)
        return _replace_surrogates(value) if _ESCAPED_SURROGATE.search(decoded) else value
    except (ValueError, RecursionError) as exc:
        raise InvalidJsonBody("not valid JSON") from exc


def _reject_constant(name: str) -> None:
    raise InvalidJsonBody(name)


def _replace_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_replace_surrogates(item) for item in value]
        case dict():
            return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
        case _:
            return value


class Fields:
    """Reads the fields of a JSON object one by one, and collects the errors, which `check` raises together."""

    def __init__(self, value: object, where: str = "body") -> None:
        if not isinstance(value, dict):
            raise errors.invalid_request(f"{where} must be object")
        self._values: dict[str, object] = value
        self._where = where
        self._missing: list[str] = []
        self._invalid: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        """Return a string."""
        value = self._read(name, required=required, default=default)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        if isinstance(value, str):
            return value
        self._add_error(name, "must be string")
        return default

    def choice(self, name: str, default: str, allowed: Sequence[str], *, required: bool = False) -> str:
        """Return one of the allowed strings."""
        value = self.text(name, default, required=required)
        if value not in allowed:
            self._add_error(name, "must be equal to one of the allowed values")
        return value

    def integer(self, name: str, default: int, minimum: int, *, required: bool = False) -> int:
        """Return an integer that is at least `minimum`."""
        value = _as_integer(self._read(name, required=required, default=default))
        if value is None:
            self._add_error(name, "must be integer")
            return default
        if value < minimum:
            self._add_error(name, f"must be >= {minimum}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean."""
        match self._read(name, required=False, default=default):
            case bool() as value:
                return value
            case "true" | 1:
                return True
            case "false" | 0 | None:
                return False
            case _:
                self._add_error(name, "must be boolean")
                return default

    def texts(self, name: str) -> list[str]:
        """Return a list of at least one string."""
        value = self._read(name, required=True, default=[""])
        items = value if isinstance(value, list) else [value]
        if not items:
            self._add_error(name, "must NOT have fewer than 1 items")
        for position, item in enumerate(items):
            if not isinstance(item, str):
                self._add_error(f"{name}/{position}", "must be string")
        return [item for item in items if isinstance(item, str)]

    def optional_texts(self, name: str) -> list[str] | None:
        """Return a list of strings, or None for null."""
        value = self._values.get(name)
        if value is None:
            return None
        items = value if isinstance(value, list) else [value]
        return [str(item) for item in items]

    def size_limit(self, name: str) -> int | None:
        """Return a size in bytes from a number or a text such as `2MB`, or None for null."""
        value = self._values.get(name)
        if value is None:
            return None
        number = _as_integer(value)
        size = parse_size(value) if number is None and isinstance(value, str) else number
        if size is None:
            self._add_error(name, "must be integer")
            self._add_error(name, 'must pass "finite" keyword validation')
            self._add_error(name, f'must match pattern "{SIZE_PATTERN}"')
            self._add_error(name, "must match a schema in anyOf")
        return size

    def fields(self, name: str) -> "Fields | None":
        """Return the fields of a nested object, which collects its own errors, or None."""
        value = self._values.get(name)
        return None if value is None else Fields(value, f"{self._where}/{name}")

    def check(self) -> None:
        """Raise `StorageError` with all errors, if there are any."""
        if self._missing or self._invalid:
            raise errors.invalid_request(", ".join(self._missing + self._invalid))

    def _read(self, name: str, *, required: bool, default: object) -> object:
        if name in self._values:
            return self._values[name]
        if required:
            self._missing.append(f"{self._where} must have required property '{name}'")
        return default

    def _add_error(self, name: str, problem: str) -> None:
        error = f"{self._where}/{name} {problem}"
        if not any(missing.endswith(f"'{name}'") for missing in self._missing):
            self._invalid.append(error)


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
