-- The schemas of extensions that dumps create, and the platform's event triggers for DDL.

create schema graphql;
create schema pgsodium;
create schema vault;
grant usage on schema graphql, vault to postgres;

-- Make PostgREST reload the schema after each change.
create function extensions.pgrst_ddl_watch() returns event_trigger
    language plpgsql
    as $$
    begin
        notify pgrst, 'reload schema';
    end
    $$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();

-- On the platform, a server extension lets `postgres` create policies and drop triggers on tables that it does not own,
-- and nothing else. Plain Postgres requires ownership for that: `postgres` becomes a member of the owning roles for one
-- command, within its transaction; if the command fails, the membership is rolled back. The platform allows this on all
-- tables of these three roles. Creating a trigger needs only the privilege on the table.
--
-- A difference: on PostgreSQL 15, `createrole` lets `postgres` grant itself the membership permanently, which the
-- platform rejects.
create function extensions.open_policies() returns event_trigger
    language plpgsql security definer set search_path = ''
    as $$
    begin
        if coalesce(nullif(current_setting('role'), 'none'), session_user) = 'postgres' then
            grant supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin to postgres;
        end if;
    end
    $$;

create function extensions.close_policies() returns event_trigger
    language plpgsql security definer set search_path = ''
    as $$
    begin
        if coalesce(nullif(current_setting('role'), 'none'), session_user) = 'postgres' then
            revoke supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin from postgres;
        end if;
    end
    $$;

create event trigger open_policies on ddl_command_start
    when tag in ('CREATE POLICY', 'ALTER POLICY', 'DROP POLICY', 'DROP TRIGGER')
    execute function extensions.open_policies();
create event trigger close_policies on ddl_command_end
    when tag in ('CREATE POLICY', 'ALTER POLICY', 'DROP POLICY', 'DROP TRIGGER')
    execute function extensions.close_policies();
