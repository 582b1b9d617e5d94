-- The end of an attempt: complete, fail or release. A repeated call returns the first response.

-- Lock a smelt; return true as `is_held` if the attempt holds it. Else return the response to repeat: the stored one if
-- the attempt ended in one of these ways, or the verdict `lost`.
create function smelt.lock_to_settle(
    p_smelt_id uuid, p_attempt bigint, p_repeatable text[], out is_held boolean, out response jsonb
)
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_ended_as text;
    begin
        perform from public.smelts as s where s.id = p_smelt_id for no key update;
        is_held := smelt.verdict_for(p_smelt_id, p_attempt) = 'go_on';
        if not is_held then
            select a.ended_as, a.response into v_ended_as, response
            from smelt.attempts as a
            where a.smelt_id = p_smelt_id and a.attempt = p_attempt;
            if v_ended_as is null or not v_ended_as = any (p_repeatable) then
                response := '{"verdict": "lost"}';
            end if;
        end if;
    end
    $$;

-- Return the response to a settling call with `outbox`: the events of the smelt that are not sent yet, leased to the
-- worker of the attempt. A repeated call returns them again until they are sent; those that another worker is sending
-- are left out.
create function smelt.with_outbox(p_response jsonb, p_smelt_id uuid, p_attempt bigint) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_worker_id text;
        v_ids bigint[];
    begin
        if p_response ->> 'verdict' <> 'settled' then
            return p_response;
        end if;
        select a.worker_id into strict v_worker_id
        from smelt.attempts as a
        where a.smelt_id = p_smelt_id and a.attempt = p_attempt;
        with unsent as materialized (
            select o.id
            from smelt.outbox as o
            where o.smelt_id = p_smelt_id
                and (o.leased_until is null or o.leased_until <= clock_timestamp() or o.leased_by = v_worker_id)
            order by o.id
            for update skip locked
        )
        select array_agg(u.id) into v_ids from unsent as u;
        return p_response
            || jsonb_build_object('outbox', smelt.lease_outbox(v_ids, v_worker_id, interval '15 s'));
    end
    $$;

-- Store the results of a run: for files of the smelt, or one result for the whole smelt.
create function smelt.store_results(p_smelt_id uuid, p_results jsonb) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_unknown uuid;
    begin
        select r.file_id into v_unknown
        from jsonb_to_recordset(p_results) as r (file_id uuid)
        where r.file_id <> p_smelt_id and not exists (
            select from public.smelt_files as f where f.id = r.file_id and f.smelt_id = p_smelt_id
        );
        if found then
            perform smelt.raise_rejection('invalid_request', format(
                'A result has the "file_id" %s; it must be the id of a file of the smelt, or of the smelt.', v_unknown
            ));
        end if;
        insert into public.smelt_results (smelt_id, run, file_id, position, filename, content)
        select
            s.id, s.run, (r.result ->> 'file_id')::uuid, r.ordinal - 1, r.result ->> 'filename',
            r.result ->> 'content'
        from public.smelts as s
        cross join jsonb_array_elements(p_results) with ordinality as r (result, ordinal)
        where s.id = p_smelt_id;
    end
    $$;

-- Complete a smelt with its results. If every file failed, the smelt fails with code and sentence of its first file.
create function smelt.complete_smelt(p_smelt_id uuid, p_attempt bigint, p_results jsonb) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_error_code text;
        v_error_message text;
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled}');
        if not v_lock.is_held then
            return smelt.with_outbox(v_lock.response, p_smelt_id, p_attempt);
        end if;
        select
            min(f.error_code) filter (where f.position = 0), min(f.error_message) filter (where f.position = 0)
        into v_error_code, v_error_message
        from public.smelt_files as f
        where f.smelt_id = p_smelt_id
        having bool_and(f.status = 'failed');
        if v_error_code is null then
            perform smelt.store_results(p_smelt_id, p_results);
        end if;
        return smelt.with_outbox(
            smelt.settle_smelt(p_smelt_id, v_error_code, false, v_error_message), p_smelt_id, p_attempt
        );
    end
    $$;

-- Return the delay before the next attempt: it doubles with each failure and is jittered, so that smelts that failed
-- together are not retried together; `p_retry_after_s` or longer.
create function smelt.retry_delay(p_failure_count integer, p_retry_after_s double precision) returns interval
    language sql volatile
    set search_path = ''
    as $$
        select make_interval(secs => greatest(
            coalesce(nullif(p_retry_after_s, 'NaN'), 0),
            least(l.retry_max_s, l.retry_base_s * 2 ^ (p_failure_count - 1)) * (0.5 + random() / 2)
        ))
        from smelt.limits as l
    $$;

-- Make an unfinished smelt claimable again after a delay. It gets a new attempt number, so that later calls of this
-- attempt change nothing. A released smelt that is still `pending` keeps its message. Without a delay it has the rank
-- of its lease again, unless it is a suspect; after a delay, it is a new arrival in the queue.
create function smelt.release_to_queue(
    p_smelt_id uuid, p_attempt bigint, p_verdict text, p_delay interval, p_message text
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_smelt public.smelts;
        v_response jsonb;
    begin
        update public.smelts as s
        set attempt = s.attempt + 1, seq = s.seq + 1, updated_at = v_now,
            claimable_at = v_now + p_delay, estimated_end_at = null,
            queue_rank = case
                when p_delay <= '0' and not exists (select from smelt.suspects as x where x.smelt_id = p_smelt_id)
                then (select l.queue_rank from smelt.leases as l where l.smelt_id = p_smelt_id)
            end,
            message = case when p_verdict = 'released' and s.status = 'pending' then s.message else p_message end
        where s.id = p_smelt_id
        returning s.* into v_smelt;
        v_response := smelt.end_attempt(v_smelt, p_attempt, p_verdict);
        perform smelt.broadcast_progress(v_smelt);
        return v_response;
    end
    $$;

-- Count a failure of an attempt and return the number of failures in a row.
create function smelt.count_failure(p_smelt_id uuid, p_attempt bigint, p_reason text) returns integer
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_failure_count integer;
    begin
        perform smelt.record_attempt(p_smelt_id, p_attempt, true, p_reason);
        update public.smelts as s
        set failure_count = s.failure_count + 1
        where s.id = p_smelt_id
        returning s.failure_count into v_failure_count;
        return v_failure_count;
    end
    $$;

-- Fail a smelt, or make it claimable again later if the cause is transient and the limit of failures is not reached.
create function smelt.fail_smelt(
    p_smelt_id uuid, p_attempt bigint, p_error_code text, p_transient boolean, p_retry_after_s double precision,
    p_reason text
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_failure_count integer;
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled,retrying}');
        if not v_lock.is_held then
            return smelt.with_outbox(v_lock.response, p_smelt_id, p_attempt);
        end if;
        v_failure_count := smelt.count_failure(p_smelt_id, p_attempt, p_reason);
        if p_transient and not smelt.is_at_failure_limit(p_smelt_id, v_failure_count) then
            return smelt.release_to_queue(
                p_smelt_id, p_attempt, 'retrying', smelt.retry_delay(v_failure_count, p_retry_after_s), 'Retrying...'
            );
        end if;
        return smelt.with_outbox(
            smelt.settle_smelt(p_smelt_id, smelt.normalize_error_code(p_error_code), false), p_smelt_id, p_attempt
        );
    end
    $$;

-- Make an unfinished smelt claimable again: at once without a failure, or after a delay if a failure is counted. At the
-- limit of failures it ends.
create function smelt.release_smelt(
    p_smelt_id uuid, p_attempt bigint, p_is_failure boolean, p_reason text
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_failure_count integer;
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled,released}');
        if not v_lock.is_held then
            return smelt.with_outbox(v_lock.response, p_smelt_id, p_attempt);
        end if;
        if not coalesce(p_is_failure, false) then
            perform smelt.record_attempt(p_smelt_id, p_attempt, false, p_reason);
            return smelt.release_to_queue(p_smelt_id, p_attempt, 'released', '0', 'Resuming...');
        end if;
        v_failure_count := smelt.count_failure(p_smelt_id, p_attempt, p_reason);
        if smelt.is_at_failure_limit(p_smelt_id, v_failure_count) then
            return smelt.with_outbox(
                smelt.settle_smelt(
                    p_smelt_id, 'internal_error', false, smelt.stopped_sentence(p_smelt_id, v_failure_count)
                ),
                p_smelt_id, p_attempt
            );
        end if;
        return smelt.release_to_queue(
            p_smelt_id, p_attempt, 'released', smelt.retry_delay(v_failure_count, null), 'Retrying...'
        );
    end
    $$;

-- Complete a smelt with `results`, `[{file_id, filename, content}]`. The outcome is `partial` if a file failed.
create function public.complete_smelt(smelt_id uuid, attempt bigint, results jsonb) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.complete_smelt(complete_smelt.smelt_id, complete_smelt.attempt, complete_smelt.results) $$;

-- Fail a smelt with an error code; if the cause is transient it is retried later, until the limit of failures. `reason`
-- is for the operator.
create function public.fail_smelt(
    smelt_id uuid,
    attempt bigint,
    error_code text,
    transient boolean default false,
    retry_after_s double precision default null,
    reason text default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.fail_smelt(
            fail_smelt.smelt_id, fail_smelt.attempt, fail_smelt.error_code, fail_smelt.transient,
            fail_smelt.retry_after_s, fail_smelt.reason
        )
    $$;

-- Release an unfinished smelt to the queue: at once without a failure, for example because the worker drains; or, with
-- `counts`, after a delay and with a failure, because work on its file was killed. `reason` is for the operator.
create function public.release_smelt(
    smelt_id uuid, attempt bigint, counts boolean default false, reason text default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.release_smelt(
            release_smelt.smelt_id, release_smelt.attempt, release_smelt.counts, release_smelt.reason
        )
    $$;

revoke all on function
    smelt.lock_to_settle, smelt.with_outbox, smelt.store_results, smelt.complete_smelt, smelt.retry_delay,
    smelt.release_to_queue, smelt.count_failure, smelt.fail_smelt, smelt.release_smelt, public.complete_smelt,
    public.fail_smelt, public.release_smelt
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.complete_smelt, smelt.fail_smelt, smelt.release_smelt,
    public.complete_smelt, public.fail_smelt, public.release_smelt
    to service_role;
