-- The health of the project and the attempts of a smelt, for workers, `smelt doctor` and metrics.

-- Return the partition for today that a table partitioned by day lacks; null if it has it, or is not partitioned.
-- Realtime creates those of `realtime.messages`; without one it rejects broadcasts, and those of the database are lost.
create function smelt.missing_partition(p_table regclass) returns text
    language sql stable
    set search_path = ''
    as $$
        select today.name
        from pg_class as c
        cross join lateral (
            select c.relname || to_char(clock_timestamp() at time zone 'utc', '_YYYY_MM_DD') as name
        ) as today
        where c.oid = p_table and c.relkind = 'p'
            and not exists (
                select
                from pg_inherits as i
                join pg_class as p on p.oid = i.inhrelid
                where i.inhparent = c.oid and p.relname = today.name
            )
    $$;

-- Read the health of the project in one statement. It has the version of the schema; the applied migrations, null if
-- the project has no history of them; the missing partition of `realtime.messages`; the counts and ages of due smelts
-- (expired leases included) and of unsent events; the number of running smelts, of live workers, and of those among
-- them whose model is suspended. Due smelts are counted up to 1001, for more than 1,000.
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
                'missing_partition', smelt.missing_partition(to_regclass('realtime.messages')),
                'max_file_bytes', (select l.max_file_bytes from smelt.limits as l),
                'client_ip_header', (select l.client_ip_header from smelt.limits as l),
                'waiting', waiting.count,
                'oldest_waiting_s', waiting.oldest_s,
                'running', (select count(*) from smelt.leases as l where l.expires_at > v_now),
                'unsent', unsent.count,
                'oldest_unsent_s', unsent.oldest_s,
                'workers', (select count(*) from smelt.live_workers),
                'suspended', (select count(*) from smelt.live_workers as w where w.info ->> 'state' = 'suspended')
            )
            from (
                select
                    (select count(*) from (
                        -- The order makes each branch read an index, and none the smelts that have ended.
                        (
                            select from public.smelts as s
                            where s.queue_rank is not null
                            order by s.queue_rank
                            limit 1001
                        )
                        union all
                        (
                            select from public.smelts as s
                            where s.queue_rank is null and s.claimable_at <= v_now
                            order by s.claimable_at
                            limit 1001
                        )
                        union all
                        select from smelt.leases as l where l.expires_at <= v_now
                        limit 1001
                    ) as due) as count,
                    coalesce(extract(epoch from v_now - least(
                        (select min(s.claimable_at) from public.smelts as s where s.queue_rank is not null),
                        (
                            select min(s.claimable_at)
                            from public.smelts as s
                            where s.queue_rank is null and s.claimable_at <= v_now
                        ),
                        (select min(l.expires_at) from smelt.leases as l where l.expires_at <= v_now)
                    )), 0) as oldest_s
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

-- Return the names of the models that live workers have, in order.
create function smelt.get_smelt_models() returns jsonb
    language sql stable security definer
    set search_path = ''
    as $$
        select coalesce(jsonb_agg(m.name order by m.name), '[]')
        from unnest(smelt.live_models()) as m (name)
        where m.name <> ''
    $$;

-- Return the names of the models that live workers have, which a smelt may request.
create function public.get_smelt_models() returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.get_smelt_models() $$;

-- Return the attempts of a smelt in order, and if it is a suspect; null for an unknown smelt.
create function smelt.get_smelt_attempts(p_smelt_id uuid) returns jsonb
    language sql stable security definer
    set search_path = ''
    as $$
        select jsonb_build_object(
            'smelt_id', s.id, 'run', s.run, 'status', s.status, 'failure_count', s.failure_count,
            'error_code', s.error_code, 'error_message', s.error_message, 'claimable_at', s.claimable_at,
            'suspect', (select x.risk from smelt.suspects as x where x.smelt_id = s.id),
            'attempts', (
                select coalesce(
                    jsonb_agg(
                        jsonb_build_object(
                            'attempt', a.attempt, 'run', a.run, 'worker_id', a.worker_id, 'host', a.host,
                            'claimed_at', a.claimed_at, 'ended_at', a.ended_at, 'ended_as', a.ended_as,
                            'risk', coalesce(a.risk, l.risk), 'is_failure', a.is_failure,
                            'error_code', a.response ->> 'error_code', 'reason', a.reason
                        )
                        order by a.attempt
                    ),
                    '[]'
                )
                from smelt.attempts as a
                left join smelt.leases as l on l.smelt_id = a.smelt_id and l.attempt = a.attempt
                where a.smelt_id = s.id
            )
        )
        from public.smelts as s
        where s.id = p_smelt_id
    $$;

-- Return the attempts of a smelt with their hosts, risks, failures and reasons; null for an unknown smelt.
create function public.get_smelt_attempts(smelt_id uuid) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.get_smelt_attempts(get_smelt_attempts.smelt_id) $$;

revoke all on function
    smelt.missing_partition, smelt.get_smelt_health, public.get_smelt_health, smelt.get_smelt_models,
    public.get_smelt_models, smelt.get_smelt_attempts, public.get_smelt_attempts
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.get_smelt_health, public.get_smelt_health, smelt.get_smelt_attempts, public.get_smelt_attempts
    to service_role;
grant execute on function smelt.get_smelt_models, public.get_smelt_models to authenticated, service_role;
