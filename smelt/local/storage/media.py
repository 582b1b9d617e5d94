"""Validation of media types, sizes and robots tags."""

import re
from collections.abc import Sequence
from typing import Final

from smelt.local.storage import errors

_TOKEN: Final = r"[A-Za-z0-9!#$&^_.+-]+"
_ALLOWED_TYPE: Final = re.compile(rf"(?:{_TOKEN}|\*)/(?:{_TOKEN}|\*)(?:;.*)?")
_CONTENT_TYPE: Final = re.compile(r"[^\s/;]+/[^\s/;]+\s*(?:;.*)?", re.DOTALL)
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([gG][bB]|[mM][bB]|[kK][bB]|[bB])")
_UNIT_BYTES: Final = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}

SIZE_PATTERN: Final = r"^[0-9]+(?:\.[0-9]+)?(?:[gG][bB]|[mM][bB]|[kK][bB]|[bB])$"
"""The pattern in the platform's error message."""

_ROBOTS_RULES: Final = frozenset(
    {"all", "noindex", "nofollow", "none", "nosnippet", "indexifembedded", "notranslate", "noimageindex", "noarchive"}
)
_ROBOTS_RULES_WITH_VALUE: Final = ("max-snippet:", "max-image-preview:", "max-video-preview:", "unavailable_after:")


def check_allowed_types(types: Sequence[str]) -> None:
    """Raise `StorageError` unless each type is `type/subtype`, `type/*`, `*/*` or `*`.

    As on the platform, the last two are valid, but match no upload.
    """
    for mime_type in types:
        if mime_type != "*" and _ALLOWED_TYPE.fullmatch(mime_type) is None:
            raise errors.mime_type_not_supported(mime_type)


def check_type(mime_type: str, allowed: Sequence[str] | None) -> None:
    """Raise `StorageError` for a type that the bucket does not allow.

    `audio/*` matches types with parameters, an exact type does not.
    """
    if not allowed or any(_covers(entry, mime_type) for entry in allowed):
        return
    raise errors.mime_type_not_supported(mime_type)


def check_content_type(header: str) -> None:
    """Raise `StorageError` for a Content-Type header without a subtype."""
    if _CONTENT_TYPE.fullmatch(header) is None:
        raise errors.invalid_content_type()


def _covers(entry: str, mime_type: str) -> bool:
    if entry.endswith("/*"):
        return mime_type.startswith(entry[:-1])
    return mime_type == entry


def parse_size(text: str) -> int | None:
    """Return the bytes of a size such as `2MB`; None if the format is wrong."""
    match = _SIZE.fullmatch(text)
    return None if match is None else int(float(match[1]) * _UNIT_BYTES[match[2].lower()])


def check_robots_tag(value: str) -> None:
    """Raise `StorageError` for an X-Robots-Tag with an unknown rule."""
    for rule in (part.strip() for part in value.split(",")):
        if rule not in _ROBOTS_RULES and not rule.startswith(_ROBOTS_RULES_WITH_VALUE):
            raise errors.invalid_robots_tag(f'rule: "{rule}"')
