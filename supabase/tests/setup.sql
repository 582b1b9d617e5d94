-- Functions for the tests in this folder. The runner loads it before each test, in the transaction that it rolls back.

-- Continue as a role, as PostgREST does. `postgres` reads all tables.
create function pg_temp.become(p_role text, p_user uuid default null, p_is_anonymous boolean default false) returns void
    language sql
    as $$
        select
            set_config('request.jwt.claims', jsonb_strip_nulls(jsonb_build_object(
                'role', p_role, 'sub', p_user, 'is_anonymous', p_is_anonymous
            ))::text, true),
            set_config('role', p_role, true)
    $$;

-- Create a user.
create function pg_temp.given_user() returns uuid
    language sql security definer
    as $$ insert into auth.users (email) values (gen_random_uuid() || '@example.com') returning id $$;

-- Insert the rows that Storage inserts when every announced file is uploaded.
create function pg_temp.upload(p_created jsonb, p_extra_bytes integer default 0) returns void
    language sql security definer
    as $$
        insert into storage.objects (bucket_id, name, version, metadata)
        select
            'smelt-audio', file ->> 'upload_path', gen_random_uuid()::text,
            jsonb_build_object('size', (file ->> 'size_bytes')::bigint + p_extra_bytes)
        from jsonb_array_elements(p_created -> 'files') as file
    $$;

-- Return files to announce.
create function pg_temp.recordings(p_count integer) returns jsonb
    language sql
    as $$
        select jsonb_agg(jsonb_build_object('filename', n || '.mp3', 'size_bytes', 1000))
        from generate_series(1, p_count) as n
    $$;

-- Create and submit a smelt of a user, or without an owner.
create function pg_temp.given_smelt(p_user uuid default null, p_files integer default 1, p_batch uuid default null)
    returns uuid
    language plpgsql
    as $$
    declare
        v_created jsonb;
    begin
        perform pg_temp.become(case when p_user is null then 'anon' else 'authenticated' end, p_user);
        v_created := public.create_smelt(files => pg_temp.recordings(p_files), batch_id => p_batch);
        perform pg_temp.upload(v_created);
        perform public.submit_smelt((v_created ->> 'id')::uuid);
        perform pg_temp.become('postgres');
        return (v_created ->> 'id')::uuid;
    end
    $$;

-- Create, submit and cancel a smelt of a user.
create function pg_temp.given_ended_smelt(p_user uuid) returns uuid
    language plpgsql
    as $$
    declare
        v_id constant uuid := pg_temp.given_smelt(p_user);
    begin
        perform pg_temp.become('authenticated', p_user);
        perform public.cancel_smelt(v_id);
        perform pg_temp.become('postgres');
        return v_id;
    end
    $$;

-- Claim one smelt as a worker; return null if none is due.
create function pg_temp.claim(
    p_worker text default 'worker', p_host text default null, p_models text[] default null
) returns jsonb
    language plpgsql
    as $$
    declare
        v_claim jsonb;
    begin
        perform pg_temp.become('service_role');
        v_claim := public.claim_smelts(p_worker, models => p_models, host => p_host) -> 'smelts' -> 0;
        perform pg_temp.become('postgres');
        return v_claim;
    end
    $$;

-- Report a claim, as its worker, at a stage.
create function pg_temp.report(p_claim jsonb, p_status text, p_risk text default null) returns void
    language plpgsql
    as $$
    begin
        perform pg_temp.become('service_role');
        perform public.report_smelt_progress(
            (p_claim ->> 'id')::uuid, (p_claim ->> 'attempt')::bigint, p_status, risk => p_risk
        );
        perform pg_temp.become('postgres');
    end
    $$;

-- Stop the worker of a claim while its file is transcribed, or at another risk: its lease expires.
create function pg_temp.stop(p_claim jsonb, p_risk text default 'model', p_status text default 'transcribing')
    returns void
    language plpgsql
    as $$
    begin
        perform pg_temp.report(p_claim, p_status, p_risk);
        update smelt.leases
        set expires_at = clock_timestamp() - interval '1 s'
        where smelt_id = (p_claim ->> 'id')::uuid;
    end
    $$;

-- Let a worker of a host be alive, or have been seen for the last time some time ago.
create function pg_temp.given_worker(p_worker text, p_host text, p_seen_ago interval default '0') returns void
    language sql
    as $$
        insert into smelt.workers (worker_id, host, info, seen_at)
        values (p_worker, p_host, '{}', clock_timestamp() - p_seen_ago)
        on conflict (worker_id) do update set seen_at = excluded.seen_at
    $$;

-- Return results for all files of a claim.
create function pg_temp.results(p_claim jsonb) returns jsonb
    language sql
    as $$
        select jsonb_agg(jsonb_build_object(
            'file_id', file ->> 'id', 'filename', file ->> 'filename', 'content', '# Notes'
        ))
        from jsonb_array_elements(p_claim -> 'files') as file
    $$;

-- Make every lease expire, as if the workers had crashed.
create function pg_temp.expire_leases() returns void
    language sql security definer
    as $$ update smelt.leases set expires_at = clock_timestamp() - interval '1 s' $$;

-- Return the row of a smelt.
create function pg_temp.smelt(p_id uuid) returns public.smelts
    language sql security definer
    as $$ select s from public.smelts as s where s.id = p_id $$;

-- Execute a statement and undo it; return SQLSTATE and hint of its error, null if it succeeded.
create function pg_temp.rejection(p_statement text) returns text
    language plpgsql
    as $$
    declare
        v_code text;
    begin
        execute p_statement;
        raise exception using errcode = 'ZZZZZ';
    exception when others then
        get stacked diagnostics v_code = pg_exception_hint;
        return case when sqlstate <> 'ZZZZZ' then concat_ws(' ', sqlstate, nullif(v_code, '')) end;
    end
    $$;
