-- The health of the project, for workers, `smelt doctor` and metrics.

-- Read the health of the project in one statement. It has the version of the schema; the applied migrations, null if the
-- project has no history of them; the counts and ages of due smelts (expired leases included) and of unsent events; the
-- number of running smelts, and of workers seen within a minute.
create function smelt.get_smelt_health() returns jsonb
    language plpgsql stable security definer
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_migrations jsonb;
    begin
        if to_regclass('supabase_migrations.schema_migrations') is not null then
            select coalesce(jsonb_agg(m.version order by m.version), '[]') into v_migrations
            from supabase_migrations.schema_migrations as m;
        end if;
        return (
            select jsonb_build_object(
                'now', v_now,
                'schema_version', (select v.version from smelt.schema_version as v),
                'schema_compatible_from', (select v.compatible_from from smelt.schema_version as v),
                'migrations', v_migrations,
                'max_file_bytes', (select l.max_file_bytes from smelt.limits as l),
                'waiting', waiting.count,
                'oldest_waiting_s', waiting.oldest_s,
                'running', (select count(*) from smelt.leases as l where l.expires_at > v_now),
                'unsent', unsent.count,
                'oldest_unsent_s', unsent.oldest_s,
                'workers', (select count(*) from smelt.workers as w where w.seen_at > v_now - interval '1 minute')
            )
            from (
                select count(*), coalesce(extract(epoch from v_now - min(due.at)), 0) as oldest_s
                from (
                    select s.claimable_at as at from public.smelts as s where s.claimable_at <= v_now
                    union all
                    select l.expires_at from smelt.leases as l where l.expires_at <= v_now
                ) as due
            ) as waiting
            cross join (
                select count(*), coalesce(extract(epoch from v_now - min(o.created_at)), 0) as oldest_s
                from smelt.outbox as o
            ) as unsent
        );
    end
    $$;

-- Return the health of the project and the version of its schema.
create function public.get_smelt_health() returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.get_smelt_health() $$;

revoke all on function smelt.get_smelt_health, public.get_smelt_health from public, anon, authenticated, service_role;
grant execute on function smelt.get_smelt_health, public.get_smelt_health to service_role;
