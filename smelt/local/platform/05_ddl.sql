-- What the platform does around DDL.

-- PostgREST reads the schema anew after each change of it.
create function extensions.pgrst_ddl_watch() returns event_trigger
    language plpgsql
    as $$
    begin
        notify pgrst, 'reload schema';
    end
    $$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();

-- On the platform an extension of the server lets `postgres` write policies on tables that it does not own and drop
-- triggers there, and nothing else. Plain Postgres wants ownership for that: `postgres` becomes a member of the owners
-- for the one command, within its transaction. A command that fails takes the membership with it. All tables of these
-- three roles are ones that the platform allows it on, and creating a trigger needs no more than the privilege on the
-- table.
--
-- What differs: on PostgreSQL 15 `createrole` lets `postgres` make itself a member for good, where the platform refuses.
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
