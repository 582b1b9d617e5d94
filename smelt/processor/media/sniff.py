"""Tell a damaged recording from something that never was one, by its first bytes. Pure."""

from typing import Final, Literal

Kind = Literal["empty", "text", "foreign", "unknown"]

HEAD_BYTES: Final = 4096

# What people upload by mistake; it has a signature, and it is no recording.
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


def kind_of(head: bytes) -> Kind:
    """Say what an unreadable file is, from its first `HEAD_BYTES` bytes."""
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
    # The cut at HEAD_BYTES may fall inside a character, of four bytes at most.
    return not _CONTROL.intersection(head) and any(_decodes(head[: len(head) - cut], "utf-8") for cut in range(4))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
