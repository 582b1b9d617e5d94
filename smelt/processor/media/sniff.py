"""Distinguishes damaged recordings from files that never were one, by their first bytes. Pure."""

from typing import Final, Literal

Kind = Literal["empty", "text", "foreign", "unknown"]

HEAD_BYTES: Final = 4096

# Signatures of files that people upload by mistake.
_FOREIGN: Final = (
    b"%PDF-",
    b"PK\x03\x04",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"\x7fELF",
    b"MZ",
    b"\x1f\x8b",
    b"7z\xbc\xaf",
    b"Rar!",
    b"SQLite format 3",
)
_CONTROL: Final = frozenset(range(32)) - {9, 10, 12, 13, 27}


def content_kind(head: bytes) -> Kind:
    """Classify an unreadable file by its first `HEAD_BYTES` bytes."""
    if not head:
        return "empty"
    if _is_text(head):
        return "text"
    if head.startswith(_FOREIGN):
        return "foreign"
    return "unknown"


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decodes(head[: len(head) // 2 * 2], "utf-16")
    # HEAD_BYTES may end inside a character of up to four bytes.
    return not _CONTROL.intersection(head) and any(_decodes(head[: len(head) - cut], "utf-8") for cut in range(4))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
