"""`smelt remove`: write the migration that removes smelt from a Supabase project."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from smelt.cli.bundled_migrations import migration_files
from smelt.cli.init import supabase_folder
from smelt.cli.output import OUT, Exit, run_in_thread
from smelt.errors import PermanentError

if TYPE_CHECKING:
    from smelt.cli.sql_names import Name

_SUFFIX: Final = "_remove_smelt.sql"
_MIGRATION: Final = """\
-- Remove smelt with all smelts, transcripts and results. It fails, and changes nothing, while objects of your own refer
-- to smelt's tables.

-- Rows of objects that are deleted here would leave their recordings in Storage.
do $$
    begin
        if exists (select from storage.objects where bucket_id in ({buckets})) then
            raise exception 'The bucket {buckets_text} is not empty.'
                using hint = 'Empty it in the dashboard or through the Storage API, then apply this migration again.';
        end if;
        perform set_config('storage.allow_delete_query', 'true', true);
        delete from storage.buckets where id in ({buckets});
    end
$$;

-- This also drops the triggers and policies that call functions of the schema, on tables of Realtime and Storage too.
drop schema {schemas} cascade;
drop function if exists
    {functions};
drop table
    {tables};
"""


def remove(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of your project, which contains supabase/.")
    ],
) -> None:
    """Write a migration that removes smelt from your project.

    `supabase db push --remote` then applies it.
    """
    run_in_thread(_remove, folder)


def removal() -> str:
    """Return the SQL that removes everything that smelt's migrations create."""
    from smelt.cli.sql_names import created_names

    names = [created.name for created in created_names(migration_files())]
    buckets = _named(names, "bucket")
    return _MIGRATION.format(
        buckets=", ".join(f"'{bucket}'" for bucket in buckets),
        buckets_text=", ".join(buckets),
        schemas=", ".join(_named(names, "schema")),
        functions=",\n    ".join(f"public.{function}" for function in _named(names, "function", "public")),
        tables=",\n    ".join(f"public.{table}" for table in _named(names, "table", "public")),
    )


def _named(names: "list[Name]", kind: str, schema: str = "") -> list[str]:
    return [one.name for one in names if (one.kind, one.schema) == (kind, schema)]


def _remove(folder: Path) -> Exit:
    migrations = supabase_folder(folder) / "migrations"
    present = {path.name for path in migrations.glob("*.sql")}
    if not present & {path.name for path in migration_files()}:
        raise PermanentError(f"{migrations} has no migrations of smelt: nothing to remove")
    if written := [name for name in present if name.endswith(_SUFFIX)]:
        raise PermanentError(f"{migrations / written[0]} removes smelt already: `supabase db push --remote` applies it")
    path = migrations / f"{datetime.now(UTC):%Y%m%d%H%M%S}{_SUFFIX}"
    try:
        path.write_text(removal(), encoding="utf-8")
    except OSError as exc:
        raise PermanentError(f"{path} can't be written: {exc.strerror}") from exc
    OUT.print(f"Wrote {escape(str(path))}. Next:", soft_wrap=True)
    OUT.print("  1. stop the workers", soft_wrap=True)
    OUT.print("  2. empty the bucket smelt-audio in the dashboard or through the Storage API", soft_wrap=True)
    OUT.print("  3. supabase db push --remote    deletes smelt's tables with all their rows", soft_wrap=True)
    return Exit.DONE
