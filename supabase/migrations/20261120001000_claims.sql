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
            'mode', s.mode, 'options', s.options, 'text_input', r.text_input,
            'default_prompt_names', s.default_prompt_names, 'user_prompt', r.user_prompt,
            'failure_count', s.failure_count, 'lease_expires_at', l.expires_at,
            'suspect', (select x.risk from smelt.suspects as x where x.smelt_id = s.id),
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

-- Return the smelts that a worker of this host leaves to other hosts, and until when. If another host with the model is
-- alive, it has 60 seconds from the moment when a smelt is due again, after the smelt's lease expired on this host or
-- its work stopped there.
create function smelt.smelts_left_to_others(p_host text, p_now timestamptz)
    returns table (smelt_id uuid, until timestamptz)
    language sql stable
    rows 5
    set search_path = ''
    as $$
        with stopped as (
            select l.smelt_id, l.expires_at as due_at, l.queue_model
            from smelt.leases as l
            where l.host = p_host and l.expires_at between p_now - interval '60 s' and p_now
            union all
            select s.id, s.claimable_at, s.queue_model
            from public.smelts as s
            join smelt.attempts as a on a.smelt_id = s.id and a.attempt = s.attempt - 1
            where s.claimable_at between p_now - interval '60 s' and p_now
                and s.claimable_at is not null and s.attempt > 1
                and a.host = p_host and (a.ended_as = 'expired' or (a.ended_as = 'released' and a.is_failure))
        ), models_elsewhere as materialized (
            select m.queue_model
            from (select distinct s.queue_model from stopped as s) as m
            where smelt.is_other_host_alive(p_host, m.queue_model)
        )
        select s.smelt_id, s.due_at + interval '60 s'
        from stopped as s
        join models_elsewhere as m on m.queue_model = s.queue_model
    $$;

-- Lock up to `p_max_count` smelts of these models whose lease expired without a risk, in the order of their rank, and
-- return their ids; skip locked ones, and those of `p_skipped`.
create function smelt.lock_expired(
    p_models text[], p_now timestamptz, p_max_count integer, p_skipped uuid[]
) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_locked uuid[];
        v_expired uuid[];
    begin
        with expired as materialized (
            select l.smelt_id, l.queue_rank, l.expires_at
            from smelt.leases as l
            where l.expires_at <= p_now and l.risk is null and l.smelt_id <> all (p_skipped)
                and l.queue_model = any (p_models)
        ), locked as materialized (
            select s.id
            from expired as e
            join public.smelts as s on s.id = e.smelt_id
            order by e.queue_rank, e.expires_at, s.id
            limit p_max_count
            for update of s skip locked
        )
        select array_agg(id) into v_locked from locked;

        -- The leases were read before the smelts were locked: check again, in a new statement, which have expired. A
        -- lease that is being renewed at this moment is locked, and skipped.
        with expired as materialized (
            select l.smelt_id
            from smelt.leases as l
            where l.smelt_id = any (v_locked) and l.expires_at <= p_now and l.risk is null
                and l.smelt_id not in (select x.smelt_id from smelt.suspects as x)
            for update skip locked
        )
        select array_agg(e.smelt_id) into v_expired from expired as e;
        return coalesce(v_expired, '{}');
    end
    $$;

-- Lock up to `p_max_count` due smelts of these models and return their ids in the order of their rank; skip locked
-- ones, suspects, and leases that expired with a risk. Without `p_expired_leases`, skip all expired leases.
create function smelt.lock_due_smelts(
    p_host text, p_models text[], p_now timestamptz, p_max_count integer, p_expired_leases boolean
) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        -- Few. A subquery in their place would mislead the planner.
        v_skipped constant uuid[] := array(
            select x.smelt_id from smelt.suspects as x
            union all
            select o.smelt_id from smelt.smelts_left_to_others(p_host, p_now) as o
        );
        v_expired uuid[] := '{}';
        v_ranked uuid[];
    begin
        if p_expired_leases then
            v_expired := smelt.lock_expired(p_models, p_now, p_max_count, v_skipped);
        end if;
        v_ranked := smelt.lock_ranked(p_models, v_skipped, p_max_count);
        -- Few are locked in vain, until the commit: no more than expired leases.
        return array(
            select s.id
            from public.smelts as s
            left join smelt.leases as l on l.smelt_id = s.id
            where s.id = any (v_expired || v_ranked)
            order by coalesce(s.queue_rank, l.queue_rank), coalesce(s.claimable_at, l.expires_at), s.id
            limit p_max_count
        );
    end
    $$;

-- Lock up to `p_max_count` smelts whose lease expired with a risk, and suspects whose lease expired, and return their
-- ids; skip locked ones. Any worker returns them to the queue, with any model.
create function smelt.lock_expired_at_risk(p_host text, p_now timestamptz, p_max_count integer) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_locked uuid[];
        v_expired uuid[];
    begin
        with at_risk as materialized (
            select l.smelt_id, l.expires_at
            from smelt.leases as l
            where l.expires_at <= p_now
                and (l.risk is not null or l.smelt_id in (select x.smelt_id from smelt.suspects as x))
                and l.smelt_id not in (select o.smelt_id from smelt.smelts_left_to_others(p_host, p_now) as o)
        ), locked as materialized (
            select s.id
            from at_risk as r
            join public.smelts as s on s.id = r.smelt_id
            order by r.expires_at, s.id
            limit p_max_count
            for update of s skip locked
        )
        select array_agg(id) into v_locked from locked;

        -- As above: check again what was read before the rows were locked.
        with expired as materialized (
            select l.smelt_id
            from smelt.leases as l
            where l.smelt_id = any (v_locked) and l.expires_at <= p_now
                and (l.risk is not null or l.smelt_id in (select x.smelt_id from smelt.suspects as x))
            for update skip locked
        )
        select array_agg(e.smelt_id) into v_expired from expired as e;
        return coalesce(v_expired, '{}');
    end
    $$;

-- Record that the leases of these locked smelts expired; with a risk, this is a failure.
create function smelt.end_expired_attempts(p_smelt_ids uuid[]) returns void
    language sql volatile
    set search_path = ''
    as $$
        update smelt.attempts as a
        set ended_at = clock_timestamp(), ended_as = 'expired', risk = l.risk, is_failure = l.risk is not null,
            reason = case
                when l.risk = 'external' then 'the external service stopped calling back'
                when l.risk is null and l.worker_id is null then 'the external service did not call back'
                when l.risk is null then 'the lease expired while no file was decoded or transcribed'
                else format('the lease expired while %s a file', smelt.work_at_risk(l.risk))
            end
        from smelt.leases as l
        where l.smelt_id = any (p_smelt_ids)
            and a.smelt_id = l.smelt_id and a.attempt = l.attempt and a.ended_as is null
    $$;

-- Make a locked smelt whose lease expired a suspect and return it to the queue: at once after its first failure, later
-- after a delay. At the limit of failures it ends. One that stopped an external service is not a suspect: it has
-- stopped no worker.
create function smelt.requeue_expired(p_smelt_id uuid) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_smelt public.smelts;
        v_risk text;
        v_due_at timestamptz;
    begin
        select l.risk, l.expires_at into strict v_risk, v_due_at from smelt.leases as l where l.smelt_id = p_smelt_id;
        perform smelt.end_expired_attempts(array[p_smelt_id]);
        if v_risk is not null then
            update public.smelts as s
            set failure_count = s.failure_count + 1
            where s.id = p_smelt_id
            returning s.* into v_smelt;
            if smelt.is_at_failure_limit(p_smelt_id, v_smelt.failure_count) then
                perform smelt.settle_smelt(
                    p_smelt_id, 'internal_error', true, smelt.stopped_sentence(p_smelt_id, v_smelt.failure_count)
                );
                return;
            end if;
            if v_smelt.failure_count > 1 then
                v_due_at := v_now + smelt.retry_delay(v_smelt.failure_count, null);
            end if;
            insert into smelt.suspects as x (smelt_id, risk)
            select p_smelt_id, v_risk
            where v_risk <> 'external'
            on conflict (smelt_id) do update set risk = excluded.risk, reserved_by = null;
        end if;
        update public.smelts as s
        set attempt = s.attempt + 1, seq = s.seq + 1, updated_at = v_now, claimable_at = v_due_at, queue_rank = null,
            estimated_end_at = null,
            message = case when s.status = 'pending' then s.message else 'Resuming...' end
        where s.id = p_smelt_id
        returning s.* into v_smelt;
        delete from smelt.leases as l where l.smelt_id = p_smelt_id;
        perform smelt.broadcast_progress(v_smelt);
    end
    $$;

-- Return expired suspects to the queue, each in isolation: one that a trigger of the app rejects is due again in a
-- minute. They are processed in the order of their batches, so that two claims that lock several batches cannot
-- deadlock.
create function smelt.requeue_all_expired(p_smelt_ids uuid[]) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_smelt_id uuid;
    begin
        for v_smelt_id in
            select s.id from public.smelts as s where s.id = any (p_smelt_ids) order by s.batch_id, s.id
        loop
            begin
                perform smelt.requeue_expired(v_smelt_id);
            exception when others then
                raise warning 'smelt %: its expired lease could not be ended: %', v_smelt_id, sqlerrm;
                update smelt.leases as l
                set expires_at = clock_timestamp() + interval '1 minute'
                where l.smelt_id = v_smelt_id;
            end;
        end loop;
    end
    $$;

-- Return true if a worker holds a suspect: it claims nothing else until the suspect has passed its stage.
create function smelt.has_suspect(p_worker_id text, p_now timestamptz) returns boolean
    language sql stable
    set search_path = ''
    as $$
        select exists (
            select from smelt.suspects as x
            join smelt.leases as l on l.smelt_id = x.smelt_id
            where l.worker_id = p_worker_id and l.expires_at > p_now
        )
    $$;

-- Lock the suspect of these models that a worker shall claim alone. A worker without other smelts gets it as
-- `smelt_id`; another one reserves it, and claims nothing until its other smelts have ended. One worker at a time does
-- that.
create function smelt.lock_due_suspect(
    p_worker_id text, p_host text, p_models text[], p_now timestamptz, out smelt_id uuid, out is_reserved boolean
)
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_is_idle constant boolean := not exists (
            select from smelt.leases as l where l.worker_id = p_worker_id and l.expires_at > p_now
        );
        v_suspect_id uuid;
    begin
        is_reserved := false;
        if not exists (select from smelt.suspects) then
            return;
        end if;
        if not v_is_idle and (
            not pg_try_advisory_xact_lock(hashtextextended('smelt.suspects', 0))
            or exists (
                select from smelt.suspects as x
                join smelt.leases as l on l.worker_id = x.reserved_by and l.expires_at > p_now
                where x.reserved_by <> p_worker_id
            )
        ) then
            return;
        end if;
        select x.smelt_id into v_suspect_id
        from smelt.suspects as x
        join public.smelts as s on s.id = x.smelt_id
        where s.claimable_at <= p_now and s.queue_model = any (p_models)
            and x.smelt_id not in (select o.smelt_id from smelt.smelts_left_to_others(p_host, p_now) as o)
        order by s.claimable_at, s.id
        limit 1
        for update skip locked;
        if v_suspect_id is null then
            return;
        end if;
        is_reserved := not v_is_idle;
        smelt_id := case when v_is_idle then v_suspect_id end;
        update smelt.suspects as x
        set reserved_by = case when is_reserved then p_worker_id end
        where x.smelt_id = v_suspect_id;
    end
    $$;

-- Start a new attempt with a lease for each of these locked smelts and return the claims. A smelt whose worker stopped
-- renewing gets the message `Resuming...`.
create function smelt.insert_leases(
    p_worker_id text, p_host text, p_claim_token uuid, p_smelt_ids uuid[], p_now timestamptz, p_lease interval
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        -- A suspect has no rank: its lease gets the one that was reached.
        insert into smelt.leases as l (
            smelt_id, attempt, worker_id, host, claim_token, expires_at, queue_owner, queue_model, queue_rank
        )
        select
            s.id, s.attempt + 1, p_worker_id, p_host, p_claim_token, p_now + p_lease, s.queue_owner, s.queue_model,
            coalesce(s.queue_rank, e.queue_rank, smelt.base_rank(s.queue_model))
        from public.smelts as s
        left join smelt.leases as e on e.smelt_id = s.id
        where s.id = any (p_smelt_ids)
        on conflict (smelt_id) do update
        set attempt = excluded.attempt, worker_id = excluded.worker_id, host = excluded.host,
            claim_token = excluded.claim_token, expires_at = excluded.expires_at, risk = excluded.risk;

        update public.smelts as s
        set attempt = s.attempt + 1, seq = s.seq + 1, updated_at = p_now, claimable_at = null, queue_rank = null,
            started_at = coalesce(s.started_at, p_now),
            estimated_end_at = null,
            message = case when s.claimable_at is null and s.status <> 'pending' then 'Resuming...' else s.message end
        where s.id = any (p_smelt_ids);

        insert into smelt.attempts (smelt_id, attempt, run, worker_id, host, claimed_at)
        select s.id, s.attempt, s.run, p_worker_id, p_host, p_now
        from public.smelts as s
        where s.id = any (p_smelt_ids);

        return (
            select coalesce(jsonb_agg(smelt.claim_payload(c.id) order by c.ordinal), '[]')
            from unnest(p_smelt_ids) with ordinality as c (id, ordinal)
        );
    end
    $$;

-- Renew the leases of an earlier claim with this token and return its claims; null if there are none.
create function smelt.repeat_claim(
    p_worker_id text, p_claim_token uuid, p_now timestamptz, p_lease interval
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_smelt_ids uuid[];
    begin
        with held as materialized (
            select l.smelt_id
            from smelt.leases as l
            where l.worker_id = p_worker_id and l.claim_token = p_claim_token
            order by l.smelt_id
            for update
        ), renewed as (
            update smelt.leases as l
            set expires_at = p_now + p_lease
            from held as h
            where l.smelt_id = h.smelt_id
            returning l.smelt_id
        )
        select array_agg(r.smelt_id) into v_smelt_ids from renewed as r;
        return (select jsonb_agg(smelt.claim_payload(c.id)) from unnest(v_smelt_ids) as c (id));
    end
    $$;

-- Claim smelts of these models for a worker that may claim some: a suspect alone, or up to `p_max_count` other smelts.
create function smelt.claim_due_smelts(
    p_worker_id text, p_host text, p_models text[], p_now timestamptz, p_max_count integer, p_expired_leases boolean,
    out smelt_ids uuid[], out is_waiting boolean
)
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_suspect record;
    begin
        if p_expired_leases then
            perform smelt.requeue_all_expired(smelt.lock_expired_at_risk(p_host, p_now, p_max_count));
        end if;
        perform smelt.rank_due_smelts(p_now);
        v_suspect := smelt.lock_due_suspect(p_worker_id, p_host, p_models, clock_timestamp());
        is_waiting := v_suspect.is_reserved;
        smelt_ids := case
            when is_waiting then '{}'
            when v_suspect.smelt_id is not null then array[v_suspect.smelt_id]
            else smelt.lock_due_smelts(p_host, p_models, p_now, p_max_count, p_expired_leases)
        end;
        perform smelt.end_expired_attempts(smelt_ids);
    end
    $$;

-- Return when a worker of this host can claim the next smelt of these models, or the next lease expires; null if there
-- is neither. Without a host, return this for the workers of all hosts. A worker that leaves expired leases alone does
-- so for 5 seconds. An expired lease of another model counts only if this worker can end it: otherwise it would claim
-- again and again, in vain.
create function smelt.next_due_at(
    p_host text, p_models text[], p_now timestamptz, p_expired_leases boolean
) returns timestamptz
    language sql stable
    set search_path = ''
    as $$
        with left_to_others as materialized (
            select o.smelt_id, o.until from smelt.smelts_left_to_others(p_host, p_now) as o
        )
        select least(
            (
                select min(ranked.claimable_at)
                from unnest(p_models) as m (model)
                cross join lateral (
                    select s.queue_model, s.claimable_at
                    from public.smelts as s
                    where s.queue_rank is not null and s.queue_model >= m.model
                        and s.id not in (select o.smelt_id from left_to_others as o)
                    order by s.queue_model, s.queue_rank, s.claimable_at, s.id
                    limit 1
                ) as ranked
                where ranked.queue_model = m.model
            ),
            (
                select min(unranked.claimable_at)
                from unnest(p_models) as m (model)
                cross join lateral (
                    select s.queue_model, s.claimable_at
                    from public.smelts as s
                    where s.queue_rank is null and s.claimable_at is not null and s.queue_model >= m.model
                        and s.id not in (select o.smelt_id from left_to_others as o)
                        and s.id not in (select x.smelt_id from smelt.suspects as x)
                    order by s.queue_model, s.claimable_at, s.id
                    limit 1
                ) as unranked
                where unranked.queue_model = m.model
            ),
            (
                select min(case
                    when p_expired_leases then l.expires_at
                    else greatest(l.expires_at, p_now + interval '5 s')
                end)
                from smelt.leases as l
                where l.smelt_id not in (select o.smelt_id from left_to_others as o)
                    and (
                        l.queue_model = any (p_models) or l.expires_at > p_now or l.risk is not null
                        or l.smelt_id in (select x.smelt_id from smelt.suspects as x)
                    )
            ),
            (select min(o.until) from left_to_others as o),
            -- A suspect that is due now is claimed by this claim, or by another worker.
            (
                select min((
                    select s.claimable_at
                    from public.smelts as s
                    where s.id = x.smelt_id and (s.claimable_at > p_now or p_host is null)
                        and s.queue_model = any (p_models)
                ))
                from smelt.suspects as x
            )
        )
    $$;

-- Return when the worker of this claim looks again for smelts whose wake-up was skipped: a little after the interval
-- that began with the last wake-up, `p_woken_at`. Null if another worker does, or none needs to. If the workers have
-- different models, each of them does.
create function smelt.follow_up_at(p_woken_at timestamptz) returns timestamptz
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        -- The margin is for the commits of those whose wake-up was skipped.
        v_at constant timestamptz := p_woken_at + smelt.wake_up_interval() + interval '250 ms';
    begin
        if v_at <= clock_timestamp() then
            return null;
        elsif (select count(*) > 1 from smelt.live_model_lists())
            or smelt.move_wake_up('followed', p_woken_at - interval '1 us', p_woken_at)
        then
            return v_at;
        end if;
        return null;
    end
    $$;

-- Return when the first smelt that waits for a delay is due, at least a second from now; null if none does. A worker
-- that has no room by then wakes the others: their wake-up may have been skipped.
create function smelt.next_delay_ends_at(p_now timestamptz) returns timestamptz
    language sql stable
    set search_path = ''
    as $$
        select greatest(min(s.claimable_at), p_now + interval '1 s')
        from public.smelts as s
        where s.queue_rank is null and s.claimable_at > p_now
        having count(*) > 0
    $$;

-- Claim due smelts for a worker. A call with the token of an earlier claim whose leases exist returns that claim again
-- and claims nothing more. The calls of one worker run one after another, also if it gave up waiting for the first.
create function smelt.claim_smelts(
    p_worker_id text, p_claim_token uuid, p_max_count integer, p_lease_s integer, p_expired_leases boolean, p_host text,
    p_models text[]
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_max_count constant integer := greatest(coalesce(p_max_count, 1), 0);
        -- A worker without room asks for the others, who may have other models and hosts.
        v_host constant text := case when v_max_count > 0 then coalesce(p_host, p_worker_id) end;
        v_models constant text[] := smelt.with_any_model(
            case v_max_count when 0 then smelt.live_models() else p_models end
        );
        v_lease constant interval := smelt.lease_length(p_lease_s);
        v_now timestamptz;
        v_expired_leases constant boolean := coalesce(p_expired_leases, true);
        v_due uuid[];
        v_is_waiting boolean := false;
        v_smelts jsonb;
        v_next_due_at timestamptz;
        v_has_suspect boolean;
        v_woken_at timestamptz;
        v_follow_up_at timestamptz;
    begin
        perform pg_advisory_xact_lock(hashtextextended('smelt.worker ' || p_worker_id, 0));
        v_now := clock_timestamp();
        -- Read before the queue: the smelts of this wake-up are visible to the statements below.
        select w.at into v_woken_at from smelt.wake_ups as w where w.kind = 'sent';
        v_smelts := smelt.repeat_claim(p_worker_id, p_claim_token, v_now, v_lease);
        if v_smelts is null and v_max_count > 0 and not smelt.has_suspect(p_worker_id, v_now) then
            select c.smelt_ids, c.is_waiting into v_due, v_is_waiting
            from smelt.claim_due_smelts(p_worker_id, v_host, v_models, v_now, v_max_count, v_expired_leases) as c;
            v_smelts := smelt.insert_leases(p_worker_id, v_host, p_claim_token, v_due, v_now, v_lease);
        end if;
        v_has_suspect := v_max_count > 0 and smelt.has_suspect(p_worker_id, v_now);
        -- A worker that holds a suspect asks again from time to time; one that waits to claim a suspect, when one of
        -- its smelts has ended.
        v_next_due_at := case
            when v_has_suspect then v_now + interval '5 s'
            when not v_is_waiting then smelt.next_due_at(v_host, v_models, v_now, v_expired_leases)
        end;
        if v_max_count = 0 then
            if v_next_due_at <= v_now then
                perform smelt.send_wake_up();
            end if;
        elsif not (v_has_suspect or v_is_waiting) then
            v_follow_up_at := smelt.follow_up_at(v_woken_at);
        end if;
        return jsonb_build_object(
            'smelts', coalesce(v_smelts, '[]'),
            'next_due_at', v_next_due_at,
            'next_due_in_s', smelt.seconds_until(v_next_due_at, clock_timestamp()),
            'waits_for_end', v_is_waiting or v_has_suspect,
            'woken_at', v_woken_at,
            'follow_up_in_s', smelt.seconds_until(
                least(v_follow_up_at, smelt.next_delay_ends_at(v_now)), clock_timestamp()
            ),
            'worker_count', (select count(*) from smelt.live_workers)
        );
    end
    $$;

-- Claim up to `max_count` smelts that are due or whose lease expired, fairly between users. The response contains when
-- to claim again at the latest.
--
-- A repetition with the same `claim_token` returns the same claims, as long as their leases exist. A suspect, whose
-- lease expired while its file was decoded or transcribed, is claimed alone, by a worker without other smelts; at the
-- limit of failures it is ended instead. With `expired_leases` false, expired leases are left to their workers, after
-- an outage. `host` is the machine of the worker. `models` are the names of the models that it has: a smelt that names
-- its model is claimed only by a worker that has it, and never by one without `models`.
--
-- `woken_at` in the response is when the workers were last woken: a worker that received a later wake-up claims again.
-- A worker with `follow_up_in_s` claims again then, for smelts whose wake-up was skipped or whose delay ends; if it has
-- no room, or claims nothing and has `waits_for_end`, it claims with a `max_count` of 0, which wakes the others if a
-- smelt is due for any of them.
create function public.claim_smelts(
    worker_id text,
    claim_token uuid default null,
    max_count integer default 1,
    lease_s integer default 30,
    expired_leases boolean default true,
    host text default null,
    models text[] default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.claim_smelts(
            claim_smelts.worker_id, claim_smelts.claim_token, claim_smelts.max_count, claim_smelts.lease_s,
            claim_smelts.expired_leases, claim_smelts.host, claim_smelts.models
        )
    $$;

revoke all on function
    smelt.lease_length, smelt.claim_payload, smelt.smelts_left_to_others, smelt.lock_expired, smelt.lock_due_smelts,
    smelt.lock_expired_at_risk, smelt.end_expired_attempts, smelt.requeue_expired, smelt.requeue_all_expired,
    smelt.has_suspect, smelt.lock_due_suspect, smelt.insert_leases, smelt.repeat_claim, smelt.claim_due_smelts,
    smelt.next_due_at, smelt.follow_up_at, smelt.next_delay_ends_at, smelt.claim_smelts, public.claim_smelts
    from public, anon, authenticated, service_role;
grant execute on function smelt.claim_smelts, public.claim_smelts to service_role;
