"""Replacement of characters that Postgres cannot store in JSON. Pure functions."""

from collections.abc import Mapping


def replace_unstorable(value: object) -> object:
    """Return a JSON value in which every NUL and every lone surrogate is replaced by U+FFFD.

    NUL occurs in the output of language models, lone surrogates in file names of another encoding.
    """
    match value:
        case str():
            # Most texts need no replacement, and a check is cheaper than a copy.
            return value if value.isprintable() else _replaced(value)
        case Mapping():
            return {key: replace_unstorable(item) for key, item in value.items()}
        case list() | tuple():
            return [replace_unstorable(item) for item in value]
        case _:
            return value


def _replaced(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
