"""Finds the names that SQL migrations create.

Reads statements and `do` blocks, but not the bodies of functions: objects that a function creates are not found.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

DEFAULT_SCHEMA: Final = "public"

# Each letter outside ASCII begins a name. `re` needs 10 ms for a range of them that ignores case, for each pattern.
_NAME: Final = r'(?:"(?:[^"]|"")+"|(?:[a-z_]|[^\x00-\x7f])[\w$]*)'
_UNNAMED: Final = rf"{_NAME}(?:\s*\.\s*{_NAME})?"
_QUALIFIED: Final = rf"(?P<name>{_UNNAMED})"
_ON: Final = rf"(?P<on>{_UNNAMED})"
_TOKEN: Final = re.compile(
    r"""(?P<line>--[^\n]*)|(?P<block>/\*)|(?P<escaped>(?<!\w)e'(?:[^'\\]|\\.|'')*')|(?P<plain>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")|(?P<dollar>(?<![\w$])(?P<tag>\$(?:[a-z_]\w*)?\$).*?(?P=tag))""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_DO: Final = re.compile(r"\bdo(?:\s+language\s+\w+)?\s*$", re.IGNORECASE)


class Name(NamedTuple):
    """An object that a migration creates; `kind` is `table`, `function`, `policy`, ...; `table` is set for policies."""

    kind: str
    schema: str
    name: str
    table: str = ""

    def __str__(self) -> str:
        if self.table:
            return f'{self.kind} "{self.name}" on {self.schema}.{self.table}'
        return f"{self.kind} {self.schema}.{self.name}" if self.schema else f"{self.kind} {self.name}"

    @property
    def key(self) -> "Name":
        """Equal for names that collide: tables, views, indexes and types share one namespace per schema."""
        return self if self.kind in _OWN_KIND else self._replace(kind="relation")


@dataclass(frozen=True)
class CreatedName:
    """A name, with the file and the line (from 1) of the statement that creates it."""

    name: Name
    path: Path
    line: int


_OWN_KIND: Final = frozenset({"function", "policy", "trigger", "bucket", "schema"})
_IF: Final = r"(?:if\s+(?:not\s+)?exists\s+)?"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


_RELATION: Final = r"(?P<kind>foreign\s+table|table|materialized\s+view|view|sequence|type|domain)"
_FUNCTION: Final = r"(?P<kind>function|procedure|aggregate)"
_CREATE_RELATION: Final = _pattern(
    rf"create\s+(?:or\s+replace\s+)?(?:unlogged\s+)?(?:recursive\s+)?{_RELATION}\s+{_IF}{_QUALIFIED}"
)
_CREATE_INDEX: Final = _pattern(
    rf"create\s+(?:unique\s+)?(?P<kind>index)\s+(?:concurrently\s+)?{_IF}(?P<name>{_NAME})\s+on\s+(?:only\s+)?{_ON}"
)
_CREATE_FUNCTION: Final = _pattern(rf"create\s+(?:or\s+replace\s+)?{_FUNCTION}\s+{_QUALIFIED}")
_CREATE_ON_TABLE: Final = _pattern(
    rf"create\s+(?:or\s+replace\s+)?(?:constraint\s+)?(?P<kind>policy|trigger)\s+(?P<name>{_NAME})\s.*?\bon\s+{_ON}"
)
_CREATE_SCHEMA: Final = _pattern(rf"create\s+(?P<kind>schema)\s+{_IF}(?P<name>{_NAME})")
_DROP: Final = _pattern(rf"drop\s+(?:{_RELATION}|(?P<function>function|procedure|aggregate))\s+{_IF}")
_DROP_ON_TABLE: Final = _pattern(rf"drop\s+(?P<kind>policy|trigger)\s+{_IF}(?P<name>{_NAME})\s+on\s+{_ON}")
_RENAME: Final = _pattern(rf"alter\s+{_RELATION}\s+{_IF}(?:only\s+)?{_QUALIFIED}\s+rename\s+to\s+(?P<new>{_NAME})")
_STATEMENT: Final = _pattern(r'(?:"(?:[^"]|"")*"|[^;"])+')
_IN_BLOCK: Final = _pattern(r"\b(?:begin|then|else|loop)\s+(?=(?:create|drop|alter|insert)\b)")
_BUCKET: Final = _pattern(r'insert\s+into\s+"?storage"?\s*\.\s*"?buckets"?\b')
_FIRST_VALUE: Final = _pattern(r"(?:values|\)\s*,)\s*\(\s*'((?:[^']|'')*)'|select\s+'((?:[^']|'')*)'")


def created_names(migrations: Sequence[Path]) -> list[CreatedName]:
    """Return the names that exist after all migrations, in order; later drops and renames are applied."""
    created: list[CreatedName] = []
    for path in migrations:
        sql = path.read_text(encoding="utf-8", errors="replace")
        masked = without_comments_and_strings(sql)
        for start, statement in _statements(masked):
            line = masked.count("\n", 0, start) + 1
            dropped = {name.key for name in _dropped(statement)}
            created = [_renamed(statement, one) for one in created if one.name.key not in dropped]
            created += [CreatedName(name, path, line) for name in _created(statement)]
            created += [
                CreatedName(name, path, line) for name in _buckets(statement, sql[start : start + len(statement)])
            ]
    return created


def without_comments_and_strings(sql: str) -> str:
    """Replace comments, strings and function bodies by blanks, so that all other characters keep their positions."""
    blanked: list[str] = []
    at = 0
    while (token := _TOKEN.search(sql, at)) is not None:
        before, text = sql[at : token.start()], token[0]
        blanked.append(before)
        if token["block"]:
            text = _block_comment(sql, token.start())
        if token["dollar"] and _DO.search("".join(blanked)):
            tag = len(token["tag"])
            blanked.append(";" * tag + without_comments_and_strings(text[tag:-tag]) + ";" * tag)
        else:
            blanked.append(text if token["quoted"] else re.sub(r"[^\n]", " ", text))
        at = token.start() + len(text)
    return "".join(blanked) + sql[at:]


def _block_comment(sql: str, start: int) -> str:
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return sql[start : mark.end()]
    return sql[start:]


def _statements(masked: str) -> Iterator[tuple[int, str]]:
    for match in _STATEMENT.finditer(masked):
        # In a `do` block, a statement may follow one of these keywords.
        behind = _IN_BLOCK.search(match[0])
        skipped = behind.end() if behind else len(match[0]) - len(match[0].lstrip())
        yield match.start() + skipped, match[0][skipped:]


def _created(statement: str) -> Iterator[Name]:
    if match := _CREATE_INDEX.match(statement):
        yield Name("index", _split(match["on"])[0], _plain(match["name"]))
    elif match := _CREATE_ON_TABLE.match(statement):
        schema, table = _split(match["on"])
        yield Name(match["kind"].lower(), schema, _plain(match["name"]), table)
    elif match := _CREATE_SCHEMA.match(statement):
        yield Name("schema", "", _plain(match["name"]))
    elif match := _CREATE_FUNCTION.match(statement):
        yield Name("function", *_split(match["name"]))
    elif match := _CREATE_RELATION.match(statement):
        yield Name(" ".join(match["kind"].lower().split()), *_split(match["name"]))


def _dropped(statement: str) -> Iterator[Name]:
    if match := _DROP.match(statement):
        kind = "function" if match["function"] else "table"
        names = re.sub(r"\([^)]*\)", "", statement[match.end() :])
        yield from (Name(kind, *_split(one)) for one in re.findall(_UNNAMED, names, re.IGNORECASE))
    elif match := _DROP_ON_TABLE.match(statement):
        schema, table = _split(match["on"])
        yield Name(match["kind"].lower(), schema, _plain(match["name"]), table)


def _renamed(statement: str, created: CreatedName) -> CreatedName:
    match = _RENAME.match(statement)
    if match is None or Name("table", *_split(match["name"])).key != created.name.key:
        return created
    return replace(created, name=created.name._replace(name=_plain(match["new"])))


def _buckets(statement: str, original: str) -> Iterator[Name]:
    if _BUCKET.match(statement):
        for match in _FIRST_VALUE.finditer(original):
            yield Name("bucket", "", (match[1] or match[2] or "").replace("''", "'"))


def _split(qualified: str) -> tuple[str, str]:
    parts = [_plain(part) for part in re.findall(_NAME, qualified, re.IGNORECASE)]
    return (parts[0], parts[1]) if len(parts) > 1 else (DEFAULT_SCHEMA, parts[0])


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
