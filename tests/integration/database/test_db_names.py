"""The names that `smelt init` reads from smelt's migrations are those in the catalog of the database."""

import psycopg
import pytest

from smelt.cli.bundled_migrations import migration_files
from smelt.cli.sql_names import created_names
from tests.harness.stacks import RemoteStack, Stack

CATALOG = """
    select 'relation', n.nspname, c.relname, ''
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'smelt') and c.relkind in ('r', 'v', 'm', 'c', 'i')
        and not exists (select from pg_constraint k where k.conindid = c.oid)
    union all
    select 'relation', n.nspname, t.typname, ''
    from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where n.nspname in ('public', 'smelt') and t.typtype in ('e', 'd')
    union all
    select 'function', n.nspname, p.proname, ''
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('public', 'smelt')
    union all
    select 'policy', schemaname, policyname, tablename from pg_policies
    union all
    select 'bucket', '', id, '' from storage.buckets
"""


@pytest.mark.skipif(RemoteStack.from_env() is not None, reason="another project may have further names")
def test_names_of_the_migrations_match_the_catalog(stack: Stack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        existing = {tuple(row) for row in connection.execute(CATALOG)}
    kinds = {"relation", "function", "policy", "bucket"}
    found = {tuple(one.name.key) for one in created_names(migration_files()) if one.name.key.kind in kinds}
    assert found == existing
