-- Claiming. A claim starts an attempt, which holds the smelt while its number is `smelts.attempt` and its lease exists.
-- Every later call carries smelt and attempt; a call of an older attempt changes nothing (fencing).

-- Return the duration of a lease: 30 seconds if null, at most an hour.
create function smelt.lease_length(p_lease_s integer) returns interval
    language sql immutable
    set search_path = ''
    as $$ select make_interval(secs => least(greatest(coalesce(p_lease_s, 30), 0), 3600)) $$;

-- Return a claimed smelt for its worker, with the transcripts' counts and checkpoints of earlier attempts.
create function smelt.claim_payload(p_smelt_id uuid) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'id', s.id, 'user_id', s.user_id, 'batch_id', s.batch_id,
            'run', s.run, 'attempt', s.attempt, 'seq', s.seq, 'status', s.status, 'percentage', s.percentage,
            'mode', s.mode, 'text_input', r.text_input,
            'default_prompt_names', s.default_prompt_names, 'user_prompt', r.user_prompt,
            'failure_count', s.failure_count, 'lease_expires_at', l.expires_at,
            'max_file_bytes', (a.allowance).max_file_bytes, 'max_duration_s', (a.allowance).max_duration_s,
            'files', (
                select jsonb_agg(
                    jsonb_build_object(
                        'id', f.id, 'position', f.position, 'filename', f.filename, 'input_type', f.input_type,
                        'size_bytes', f.size_bytes, 'object_path', f.upload_path, 'object_version', f.object_version,
                        'status', f.status, 'stage', f.stage, 'progress', f.progress,
                        'duration_seconds', f.duration_seconds, 'language', f.language,
                        'transcribed', f.transcribed, 'checkpoint', c.checkpoint,
                        'segment_count', (select count(*) from public.smelt_segments as g where g.file_id = f.id)
                    )
                    order by f.position
                )
                from public.smelt_files as f
                left join smelt.checkpoints as c on c.file_id = f.id
                where f.smelt_id = s.id
            )
        )
        from public.smelts as s
        join smelt.requests as r on r.smelt_id = s.id
        join smelt.leases as l on l.smelt_id = s.id
        cross join lateral (select smelt.allowance_for(s.is_anonymous) as allowance) as a
        where s.id = p_smelt_id
    $$;

-- Lock up to `p_max_count` due smelts in the order of their rank and return their ids; skip locked ones.
create function smelt.lock_due_smelts(p_now timestamptz, p_max_count integer) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_locked uuid[];
        v_due uuid[];
    begin
        with queue as materialized (
            select q.smelt_id, q.rank, q.due_at from smelt.queued_smelts(p_now) as q
        ), locked as materialized (
            select s.id, q.rank, q.due_at
            from queue as q
            join public.smelts as s on s.id = q.smelt_id
            order by q.rank, q.due_at, s.id
            limit p_max_count
            for update of s skip locked
        )
        select array_agg(id order by rank, due_at, id) into v_locked from locked;

        -- The queue was read before the rows were locked: check again, in a new statement, which smelts are still due.
        -- A lease that is being renewed at this moment is locked, and skipped.
        with expired as materialized (
            select l.smelt_id
            from smelt.leases as l
            where l.smelt_id = any (v_locked) and l.expires_at <= p_now
            for update skip locked
        )
        select array_agg(s.id order by ordinal) into v_due
        from unnest(v_locked) with ordinality as l (id, ordinal)
        join public.smelts as s using (id)
        where s.claimable_at <= p_now or s.id in (select e.smelt_id from expired as e);
        return coalesce(v_due, '{}');
    end
    $$;

-- Count a failure for each smelt whose lease expired during work, end the smelts at the limit of failures, and return
-- the ids of the others. Smelts are processed in the order of their batches, so that two claims that lock several
-- batches cannot deadlock. Each smelt is isolated: one that a trigger of the app rejects is due again in a minute.
create function smelt.count_expired(p_smelt_ids uuid[]) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_max constant integer := (select l.max_failures from smelt.limits as l);
        v_claimable uuid[] := p_smelt_ids;
        v_smelt record;
    begin
        update smelt.attempts as a
        set ended_at = clock_timestamp(), ended_as = 'expired'
        from smelt.leases as l
        where l.smelt_id = any (p_smelt_ids)
            and a.smelt_id = l.smelt_id and a.attempt = l.attempt and a.ended_as is null;

        for v_smelt in
            select s.id, s.failure_count + (not l.awaiting_model)::integer as failure_count
            from public.smelts as s
            join smelt.leases as l on l.smelt_id = s.id
            where s.id = any (p_smelt_ids)
            order by s.batch_id, s.id
        loop
            begin
                update public.smelts as s
                set failure_count = v_smelt.failure_count
                where s.id = v_smelt.id and s.failure_count <> v_smelt.failure_count;
                if v_smelt.failure_count >= v_max then
                    perform smelt.settle_smelt(v_smelt.id, 'internal_error', true);
                    v_claimable := array_remove(v_claimable, v_smelt.id);
                end if;
            exception when others then
                raise warning 'smelt %: the failure of its expired lease could not be counted: %', v_smelt.id, sqlerrm;
                update smelt.leases as l
                set expires_at = clock_timestamp() + interval '1 minute'
                where l.smelt_id = v_smelt.id;
                v_claimable := array_remove(v_claimable, v_smelt.id);
            end;
        end loop;
        return v_claimable;
    end
    $$;

-- Start a new attempt with a lease for each of these locked smelts and return the claims. A smelt whose worker stopped
-- renewing gets the message `Resuming...`.
create function smelt.insert_leases(
    p_worker_id text, p_smelt_ids uuid[], p_now timestamptz, p_lease interval
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        update public.smelts as s
        set attempt = s.attempt + 1, seq = s.seq + 1, updated_at = p_now, claimable_at = null,
            started_at = coalesce(s.started_at, p_now),
            estimated_end_at = null,
            message = case when s.claimable_at is null and s.status <> 'pending' then 'Resuming...' else s.message end
        where s.id = any (p_smelt_ids);

        insert into smelt.leases as l (smelt_id, attempt, worker_id, expires_at)
        select s.id, s.attempt, p_worker_id, p_now + p_lease
        from public.smelts as s
        where s.id = any (p_smelt_ids)
        on conflict (smelt_id) do update
        set attempt = excluded.attempt, worker_id = excluded.worker_id, expires_at = excluded.expires_at,
            awaiting_model = excluded.awaiting_model;

        insert into smelt.attempts (smelt_id, attempt, run, worker_id, claimed_at)
        select s.id, s.attempt, s.run, p_worker_id, p_now
        from public.smelts as s
        where s.id = any (p_smelt_ids);

        return (
            select coalesce(jsonb_agg(smelt.claim_payload(c.id) order by c.ordinal), '[]')
            from unnest(p_smelt_ids) with ordinality as c (id, ordinal)
        );
    end
    $$;

-- Return when the next smelt is due or the next lease expires; null if there is neither.
create function smelt.next_due_at() returns timestamptz
    language sql stable
    set search_path = ''
    as $$
        select least(
            (select min(s.claimable_at) from public.smelts as s where s.claimable_at is not null),
            (select min(l.expires_at) from smelt.leases as l)
        )
    $$;

-- Claim due smelts for a worker.
create function smelt.claim_smelts(p_worker_id text, p_max_count integer, p_lease_s integer) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_due uuid[];
        v_smelts jsonb;
        v_next_due_at timestamptz;
    begin
        v_due := smelt.count_expired(smelt.lock_due_smelts(v_now, greatest(coalesce(p_max_count, 1), 0)));
        v_smelts := smelt.insert_leases(p_worker_id, v_due, v_now, smelt.lease_length(p_lease_s));
        v_next_due_at := smelt.next_due_at();
        return jsonb_build_object(
            'smelts', v_smelts,
            'next_due_at', v_next_due_at,
            'next_due_in_s', smelt.seconds_until(v_next_due_at, clock_timestamp())
        );
    end
    $$;

-- Claim up to `max_count` smelts that are due or whose lease expired, fairly between users. A smelt at the limit of
-- failures is ended instead. The response contains when to claim again at the latest.
create function public.claim_smelts(
    worker_id text, max_count integer default 1, lease_s integer default 30
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.claim_smelts(claim_smelts.worker_id, claim_smelts.max_count, claim_smelts.lease_s) $$;

revoke all on function
    smelt.lease_length, smelt.claim_payload, smelt.lock_due_smelts, smelt.count_expired, smelt.insert_leases,
    smelt.next_due_at, smelt.claim_smelts, public.claim_smelts
    from public, anon, authenticated, service_role;
grant execute on function smelt.claim_smelts, public.claim_smelts to service_role;
