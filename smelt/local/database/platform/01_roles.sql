-- The roles of a Supabase project and their default privileges.
--
-- Run all files of this folder in their order, once, as the superuser `supabase_admin` (`initdb -U supabase_admin`), in
-- the database `postgres`. They run on PostgreSQL 15 to 18.
--
-- The password is that of `supabase start`: it protects a server that listens only on the loopback interface.

create role anon nologin inherit;
create role authenticated nologin inherit;
create role service_role nologin inherit bypassrls;
create role authenticator login noinherit password 'postgres';
create role supabase_auth_admin login noinherit createrole password 'postgres';
create role supabase_storage_admin login noinherit createrole password 'postgres';
create role supabase_realtime_admin nologin noinherit;
create role dashboard_user nologin createdb createrole replication;

-- The role of the embedded Realtime server, which the platform lets connect as a superuser. Here it may not be one:
-- triggers, domains and casts of the project run in its sessions. It has no privilege that `postgres` lacks, and no
-- password, so it connects only over the socket.
create role smelt_realtime login inherit replication bypassrls;

-- The role of a project's owner, who is not a superuser.
create role postgres login nosuperuser createdb createrole replication bypassrls password 'postgres';

grant anon, authenticated, service_role to authenticator;
grant authenticator to supabase_storage_admin;
grant anon, authenticated, service_role to supabase_realtime_admin;
grant authenticator, pg_read_all_data, pg_read_all_stats to smelt_realtime;
grant anon, authenticated, service_role, authenticator, pg_monitor, pg_read_all_data, pg_signal_backend
    to postgres with admin option;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_admin set search_path = "$user", public, auth, extensions;
alter role postgres set search_path = "$user", public, extensions;
alter role supabase_auth_admin set search_path = auth;
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';
alter role supabase_storage_admin set search_path = storage;

-- Data dumps set the first parameter; the others configure PostgREST, by `alter role authenticator set pgrst...`.
grant set on parameter session_replication_role, pgrst.client_error_verbosity, pgrst.db_aggregates_enabled,
    pgrst.db_anon_role, pgrst.db_extra_search_path, pgrst.db_hoisted_tx_settings, pgrst.db_max_rows,
    pgrst.db_plan_enabled, pgrst.db_pre_request, pgrst.db_prepared_statements, pgrst.db_root_spec, pgrst.db_schemas,
    pgrst.db_timezone_enabled, pgrst.db_tx_end, pgrst.jwt_aud, pgrst.jwt_cache_max_lifetime, pgrst.jwt_role_claim_key,
    pgrst.jwt_secret, pgrst.jwt_secret_is_base64, pgrst.log_level, pgrst.openapi_mode, pgrst.openapi_security_active,
    pgrst.openapi_server_proxy_uri, pgrst.raw_media_types, pgrst.server_cors_allowed_origins,
    pgrst.server_timing_enabled, pgrst.server_trace_header to postgres;

alter database postgres owner to postgres;
grant all on database postgres to dashboard_user;

-- `public` belongs to the owner of the database. Objects created there are open to the API's roles until it is revoked:
-- migrations that forget to revoke must behave here as on the platform.
grant usage on schema public to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on sequences to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
    grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
    grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
    grant all on sequences to postgres, anon, authenticated, service_role;

create schema extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;
grant all on schema extensions to dashboard_user;

-- The files of this folder that this database has run, with their hashes. Only the superuser has access.
create schema smelt_platform;
create table smelt_platform.files (
    name text primary key,
    sha256 text not null
);

-- The tables that clients can follow with postgres_changes; migrations add theirs.
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;
