"""Every name outside smelt's own schema contains `smelt`: none collides with a name of the app."""

import re
from typing import Final
from uuid import uuid4

from smelt.contract import channels
from tests.integration.database.db_calls import Database

PREFIXES: Final = {
    channel(str(uuid4())).partition(":")[0]
    for channel in (
        channels.smelt_channel,
        channels.batch_channel,
        channels.notifications_channel,
        channels.feed_channel,
    )
}


def test_names_in_public_all_contain_smelt(template_database: Database) -> None:
    rows = template_database.rows(
        """
        select relkind::text, relname::text from pg_class where relnamespace = 'public'::regnamespace
        union all select 'function', proname from pg_proc where pronamespace = 'public'::regnamespace
        union all select 'type', typname from pg_type where typnamespace = 'public'::regnamespace
        """
    )
    assert {kind for kind, _ in rows} == {"r", "i", "function", "type"}
    assert [row for row in rows if "smelt" not in row[1]] == []


def test_names_on_tables_of_the_platform_all_begin_with_smelt(template_database: Database) -> None:
    """Policies, triggers and rules on tables that apps use as well, the bucket, and no column or constraint."""
    policies = template_database.rows(
        """
        select p.polname::text
        from pg_policy as p
        join pg_class as c on c.oid = p.polrelid
        where c.relnamespace not in ('public'::regnamespace, 'smelt'::regnamespace)
        """
    )
    assert len(policies) == 3
    assert [name for (name,) in policies if not name.startswith("smelt: ")] == []
    triggers = template_database.rows(
        """
        select t.tgname
        from pg_trigger as t
        join pg_class as c on c.oid = t.tgrelid
        join pg_proc as p on p.oid = t.tgfoid
        where p.pronamespace = 'smelt'::regnamespace
            and c.relnamespace not in ('public'::regnamespace, 'smelt'::regnamespace)
        """
    )
    assert triggers == [("smelt_check_object",)]
    assert template_database.rows("select id from storage.buckets") == [(channels.AUDIO_BUCKET,)]
    assert "smelt" in channels.AUDIO_BUCKET


def test_channels_all_have_a_prefix_of_the_contract(template_database: Database) -> None:
    sources = "\n".join(
        source
        for (source,) in template_database.rows(
            "select prosrc from pg_proc where pronamespace = 'smelt'::regnamespace and prosrc ~ 'smelt'"
        )
    )
    assert set(re.findall(r"'([a-z-]+):' \|\|", sources)) == PREFIXES
    admitted = template_database.value("select prosrc from pg_proc where oid = 'smelt.can_subscribe'::regproc")
    assert set(re.findall(r"when '([a-z-]+)' then", admitted)) == PREFIXES
    assert f"'{channels.WORKERS_CHANNEL}'" in sources
    assert [name for name in (*PREFIXES, channels.WORKERS_CHANNEL) if not name.startswith("smelt")] == []
