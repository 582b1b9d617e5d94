"""The version of the database schema, and whether this installation can work with that of a project."""

from typing import Final, NamedTuple

from smelt.distribution import NAME

SCHEMA_VERSION: Final = 1
"""The version that the bundled migrations make: `smelt.schema_version` in the database."""


class SchemaIssue(NamedTuple):
    """A project whose schema this installation cannot work with: which side is too old, and how to update it."""

    observed: str
    remedy: str


def schema_issue(version: int, compatible_from: int) -> SchemaIssue | None:
    """Return the reason why this installation cannot work with the schema of a project; None if it can.

    Args:
        version: The version of the project's schema; 0 if the schema does not report one.
        compatible_from: The lowest `SCHEMA_VERSION` that an installation needs to work with the project's schema.
    """
    if version < SCHEMA_VERSION:
        return SchemaIssue(
            f"the schema of the project is older than this smelt needs: version {version}, not {SCHEMA_VERSION}",
            "update the project: `smelt init DIR` adds the migrations, `supabase db push --remote` applies them",
        )
    if compatible_from > SCHEMA_VERSION:
        return SchemaIssue(
            f"the schema of the project is newer than this smelt supports: version {version}, which needs a smelt "
            f"made for version {compatible_from} or later, not {SCHEMA_VERSION}",
            f"update smelt on this machine: `pip install --upgrade {NAME}`",
        )
    return None
