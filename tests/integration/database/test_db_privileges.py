"""The privileges of each role, checked against the catalog for every function, table and column."""

from typing import Final
from uuid import uuid4

import psycopg
import pytest

from tests.integration.database.db_calls import Caller, Database, Role, anon, rejection, service, user
from tests.integration.database.db_server import Server

CLIENT_FUNCTIONS: Final = {
    f"public.{name}"
    for name in (
        "create_smelt",
        "submit_smelt",
        "get_smelt",
        "get_smelts",
        "cancel_smelt",
        "retry_smelt",
        "rename_smelt_speaker",
        "delete_smelt",
    )
}
WORKER_FUNCTIONS: Final = {
    f"public.{name}"
    for name in (
        "claim_smelts",
        "report_smelt_progress",
        "renew_smelt_leases",
        "load_smelt_segments",
        "complete_smelt",
        "fail_smelt",
        "release_smelt",
        "dispatch_smelt",
        "report_dispatched_smelt",
        "claim_smelt_outbox",
        "settle_smelt_outbox",
        "list_expired_smelts",
        "confirm_smelts_purged",
        "heartbeat_smelt_worker",
        "get_smelt_health",
        "get_smelt_attempts",
        "claim_smelt_webhook_deliveries",
        "settle_smelt_webhook_delivery",
    )
}
ACCOUNT_FUNCTIONS: Final = {
    f"public.{name}"
    for name in (
        "create_smelt_webhook",
        "update_smelt_webhook",
        "rotate_smelt_webhook_secret",
        "delete_smelt_webhook",
        "test_smelt_webhook",
        "get_smelt_webhook_deliveries",
        "get_smelt_models",
    )
}
POLICY_FUNCTIONS: Final = {"smelt.can_subscribe", "smelt.can_upload", "smelt.can_read_audio"}
READABLE: Final = {
    f"public.{name}"
    for name in (
        "smelts",
        "smelt_files",
        "smelt_segments",
        "smelt_results",
        "smelt_batches",
        "smelt_prompts",
        "smelt_notifications",
        "smelt_webhooks",
    )
}
WRITABLE_COLUMNS: Final = {
    ("authenticated", "INSERT", "public.smelt_prompts", "name"),
    ("authenticated", "INSERT", "public.smelt_prompts", "content"),
    ("authenticated", "UPDATE", "public.smelt_prompts", "name"),
    ("authenticated", "UPDATE", "public.smelt_prompts", "content"),
    ("authenticated", "UPDATE", "public.smelt_notifications", "seen_at"),
    ("authenticated", "UPDATE", "public.smelt_notifications", "read_at"),
}
ROLES: Final = ("public", "anon", "authenticated", "service_role")


def _bodies(functions: set[str]) -> set[str]:
    return functions | {name.replace("public.", "smelt.") for name in functions}


def _callable_by(role: str) -> set[str]:
    clients = _bodies(CLIENT_FUNCTIONS) | POLICY_FUNCTIONS
    return {
        "public": set(),
        "anon": clients,
        "authenticated": clients | _bodies({"public.create_smelt_batch"} | ACCOUNT_FUNCTIONS),
        "service_role": clients | _bodies(WORKER_FUNCTIONS | ACCOUNT_FUNCTIONS),
    }[role]


def test_default_privileges_of_the_platform_are_in_force(server: Server) -> None:
    """The tests below rely on it: objects in `public` are accessible until privileges are revoked."""
    with psycopg.connect(server.dsn("postgres")) as connection:
        connection.execute("create function public.fresh() returns void language sql as ''")
        connection.execute("create table public.fresh_table ()")
        row = connection.execute(
            "select has_function_privilege('anon', 'public.fresh()', 'execute'),"
            " has_table_privilege('anon', 'public.fresh_table', 'insert')"
        ).fetchone()
        connection.rollback()
    assert row == (True, True)


@pytest.mark.parametrize("role", ROLES)
def test_execute_privileges_match_the_list_of_each_role(template_database: Database, role: str) -> None:
    rows = template_database.rows(
        """
        select p.oid::regproc::text
        from pg_catalog.pg_proc as p
        where p.pronamespace in ('public'::regnamespace, 'smelt'::regnamespace)
            and has_function_privilege(%s, p.oid, 'execute')
        """,
        role,
    )
    assert {_qualified(name) for (name,) in rows} == _callable_by(role)


@pytest.mark.parametrize("role", ROLES)
def test_table_privileges_match_the_list_of_each_role(template_database: Database, role: str) -> None:
    rows = template_database.rows(
        """
        select k.privilege, c.oid::regclass::text
        from pg_catalog.pg_class as c
        cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
            as k (privilege)
        where c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm')
            and has_table_privilege(%s, c.oid, k.privilege)
        """,
        role,
    )
    expected = {("SELECT", table) for table in READABLE} if role in ("authenticated", "service_role") else set()
    if role == "authenticated":
        expected.add(("DELETE", "public.smelt_prompts"))
    assert {(privilege, _qualified(table)) for privilege, table in rows} == expected


def test_column_privileges_match_the_list_of_writable_columns(template_database: Database) -> None:
    rows = template_database.rows(
        """
        select r.role, k.privilege, c.oid::regclass::text, a.attname
        from pg_catalog.pg_class as c
        join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        cross join unnest(array['anon', 'authenticated', 'service_role']) as r (role)
        cross join unnest(array['INSERT', 'UPDATE']) as k (privilege)
        where c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace) and c.relkind = 'r'
            and has_column_privilege(r.role, c.oid, a.attnum, k.privilege)
        """
    )
    assert {(role, privilege, _qualified(table), column) for role, privilege, table, column in rows} == WRITABLE_COLUMNS


def test_sequence_privileges_are_granted_to_no_api_role(template_database: Database) -> None:
    rows = template_database.rows(
        """
        select c.oid::regclass::text, r.role
        from pg_catalog.pg_class as c
        cross join unnest(array['anon', 'authenticated', 'service_role']) as r (role)
        where c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace) and c.relkind = 'S'
            and has_sequence_privilege(r.role, c.oid, 'usage, select, update')
        """
    )
    assert rows == []


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_schema_privileges_allow_usage_but_not_create(template_database: Database, role: str) -> None:
    [row] = template_database.rows(
        "select has_schema_privilege(%s, 'smelt', 'usage'), has_schema_privilege(%s, 'smelt', 'create')", role, role
    )
    assert row == (True, False)


def test_rls_is_enabled_on_every_public_table(template_database: Database) -> None:
    rows = template_database.rows(
        "select oid::regclass::text from pg_catalog.pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'r' and relrowsecurity"
    )
    assert {_qualified(name) for (name,) in rows} == READABLE


def test_search_path_is_fixed_and_definers_are_outside_public(template_database: Database) -> None:
    rows = template_database.rows(
        """
        select p.oid::regproc::text, p.pronamespace::regnamespace::text, p.prosecdef, p.proconfig, r.rolname
        from pg_catalog.pg_proc as p
        join pg_catalog.pg_roles as r on r.oid = p.proowner
        where p.pronamespace in ('public'::regnamespace, 'smelt'::regnamespace)
        """
    )
    assert [name for name, *_, config, _ in rows if config != ['search_path=""']] == []
    assert [name for name, schema, definer, *_ in rows if definer and schema == "public"] == []
    assert {owner for *_, owner in rows} == {"postgres"}
    assert not [name for name, *_, owner in rows if owner == "supabase_admin"]


def test_security_definer_functions_are_all_granted_or_triggers(template_database: Database) -> None:
    """Only functions that a role may call, and triggers, run as the owner; all others run as the caller."""
    rows = template_database.rows(
        "select oid::regproc::text from pg_catalog.pg_proc where prosecdef and pronamespace = 'smelt'::regnamespace"
    )
    called = set().union(*(_callable_by(role) for role in ROLES))
    counts = {"smelt.count_members", "smelt.count_changed_member"}
    triggers = {"smelt.check_prompt", "smelt.notify_deletion", "smelt.wake_workers", "smelt.check_object", *counts}
    assert {name for (name,) in rows} == {name for name in called if name.startswith("smelt.")} | triggers


def test_foreign_keys_all_have_an_index(template_database: Database) -> None:
    rows = template_database.rows(
        """
        select c.conrelid::regclass::text, c.conname
        from pg_catalog.pg_constraint as c
        where c.contype = 'f' and c.connamespace in ('public'::regnamespace, 'smelt'::regnamespace)
            and not exists (
                select from pg_catalog.pg_index as i
                where i.indrelid = c.conrelid and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
            )
        """
    )
    assert rows == []


@pytest.mark.parametrize("role", [anon(), user(str(uuid4()))], ids=lambda role: role.name)
def test_worker_functions_are_denied_to_clients(template_database: Database, role: Role) -> None:
    caller = template_database.caller(role)
    for function in sorted(WORKER_FUNCTIONS):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            caller(function.removeprefix("public."), **_nulls(template_database, function))
        body = function.replace("public.", "smelt.")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            caller.rows(f"select {body}({_placeholders(template_database, body)})")


def test_client_functions_are_granted_to_every_role(database: Database, owner: str) -> None:
    for caller in map(database.caller, (anon(), user(owner), service())):
        created = caller("create_smelt", text_input="notes")
        assert caller("get_smelt", smelt_id=created["id"])["status"] == "pending"
        assert len(caller("get_smelts", smelts=[{"id": created["id"]}])["smelts"]) == 1
        assert caller("submit_smelt", smelt_id=created["id"])["status"] == "pending"
        assert caller("cancel_smelt", smelt_id=created["id"])["error_code"] == "cancelled"
        assert caller("retry_smelt", smelt_id=created["id"])["run"] == 2
        assert caller("delete_smelt", smelt_id=created["id"]) == {"deleted": True}


def test_token_with_a_forged_role_claim_grants_nothing(database: Database, client: Caller) -> None:
    """The role of the session counts, not that of the claims."""
    created = client("create_smelt", text_input="notes")
    forged = database.caller(anon())
    forged.role.claims["role"] = "service_role"
    with pytest.raises(psycopg.Error) as rejected:
        forged("get_smelt", smelt_id=created["id"])
    assert rejection(rejected.value) == ("PT404", "not_found")


def _qualified(name: str) -> str:
    return name if "." in name else f"public.{name}"


def _nulls(database: Database, function: str) -> dict[str, None]:
    rows = database.rows(
        "select unnest(proargnames[1:pronargs - pronargdefaults]) from pg_catalog.pg_proc where oid = %s::regproc",
        function,
    )
    return {name: None for (name,) in rows}


def _placeholders(database: Database, function: str) -> str:
    count = database.value("select pronargs from pg_catalog.pg_proc where oid = %s::regproc", function)
    return ", ".join(["null"] * count)
