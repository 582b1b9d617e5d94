"""What neither JSON nor Postgres can hold. Pure."""

from collections.abc import Mapping


def replace_unstorable(value: object) -> object:
    """A JSON value whose texts can be stored: a NUL, and half of a surrogate pair, become U+FFFD.

    Language models write the one, file names of another encoding come with the other.
    """
    match value:
        case str():
            # Most texts are as they should be, and a look is cheaper than a copy.
            return value if value.isprintable() else _mended(value)
        case Mapping():
            return {key: replace_unstorable(item) for key, item in value.items()}
        case list() | tuple():
            return [replace_unstorable(item) for item in value]
        case _:
            return value


def _mended(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
