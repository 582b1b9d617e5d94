"""Parses the `Range` header with the platform's rules, which are not those of Starlette's `FileResponse`.

It supports a single range, rejects all others with 416 and a JSON body, and ignores `If-Range`.
"""

import re
from dataclasses import dataclass
from typing import Final

from smelt.local.storage import errors

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True)
class ByteRange:
    """The bytes from `first` to `last`, inclusive, of `size_bytes`."""

    first: int
    last: int
    size_bytes: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.last - self.first + 1

    def content_range(self) -> str:
        """Return the value of the `Content-Range` header."""
        return f"bytes {self.first}-{self.last}/{self.size_bytes}"


def parse_range(header: str, size_bytes: int) -> ByteRange:
    """Return the range of the header in an object of this size; raise `StorageError` unless it is one valid range."""
    match = _RANGE.fullmatch(header)
    if match is None or match[0] == "bytes=-":
        raise errors.invalid_range()
    start, end = match[1], match[2]
    if not start:
        first, last = max(0, size_bytes - int(end)), size_bytes - 1
    else:
        first, last = int(start), min(int(end), size_bytes - 1) if end else size_bytes - 1
    if first > last:
        raise errors.invalid_range()
    return ByteRange(first, last, size_bytes)
