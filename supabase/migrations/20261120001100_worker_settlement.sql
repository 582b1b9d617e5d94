-- How a worker gives a smelt back: completed, failed, or unfinished. Whoever settles second gets the first's answer.

-- Lock a smelt and say whether this attempt still has it to settle. If not, `answer` is what to return: that of the
-- first who settled, or that it is lost.
create function smelt.lock_to_settle(
    p_smelt_id uuid, p_attempt bigint, p_endings text[], out held boolean, out answer jsonb
)
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_ending text;
    begin
        perform from public.smelts as s where s.id = p_smelt_id for no key update;
        held := smelt.verdict_for(p_smelt_id, p_attempt) = 'go_on';
        if not held then
            select a.ending, a.answer into v_ending, answer
            from smelt.attempts as a
            where a.smelt_id = p_smelt_id and a.attempt = p_attempt;
            if v_ending is null or not v_ending = any (p_endings) then
                answer := '{"verdict": "lost"}';
            end if;
        end if;
    end
    $$;

-- Store the results of a run: of files of the smelt, or one for the whole of it.
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
            raise exception 'a result is of % which is no file of the smelt', v_unknown using errcode = '22023';
        end if;
        insert into public.smelt_results (smelt_id, run, file_id, position, filename, content)
        select
            s.id, s.run, (r.result ->> 'file_id')::uuid, r.place - 1, r.result ->> 'filename',
            r.result ->> 'content'
        from public.smelts as s
        cross join jsonb_array_elements(p_results) with ordinality as r (result, place)
        where s.id = p_smelt_id;
    end
    $$;

-- Complete a smelt with its results. If every file failed there is nothing to complete: it fails as the first file did.
create function smelt.complete_smelt(p_smelt_id uuid, p_attempt bigint, p_results jsonb) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_error_code text;
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled}');
        if not v_lock.held then
            return v_lock.answer;
        end if;
        select min(f.error_code) filter (where f.position = 0) into v_error_code
        from public.smelt_files as f
        where f.smelt_id = p_smelt_id
        having bool_and(f.status = 'failed');
        if v_error_code is null then
            perform smelt.store_results(p_smelt_id, p_results);
        end if;
        return smelt.settle_smelt(p_smelt_id, v_error_code, false);
    end
    $$;

-- When to try again after so many failures: growing, and jittered so that what failed together does not come back so.
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

-- Give a smelt that is not finished back to the queue: a stale call of this attempt changes nothing from here on. The
-- message stays if there is no new one.
create function smelt.release_to_queue(
    p_smelt_id uuid, p_attempt bigint, p_ending text, p_failure_count integer, p_delay interval, p_message text
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_smelt public.smelts;
        v_answer jsonb;
    begin
        update public.smelts as s
        set attempt = s.attempt + 1, seq = s.seq + 1, updated_at = v_now, failure_count = p_failure_count,
            claimable_at = v_now + p_delay, estimated_end_at = null,
            message = coalesce(p_message, s.message)
        where s.id = p_smelt_id
        returning s.* into v_smelt;
        v_answer := smelt.end_attempt(v_smelt, p_attempt, p_ending);
        perform smelt.broadcast_progress(v_smelt);
        perform smelt.wake_workers();
        return v_answer;
    end
    $$;

-- Fail a smelt, or have it tried again later if the cause may pass and tries are left.
create function smelt.fail_smelt(
    p_smelt_id uuid, p_attempt bigint, p_error_code text, p_transient boolean, p_retry_after_s double precision
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_failure_count integer;
        v_max_failures constant integer := (select l.max_failures from smelt.limits as l);
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled,retrying}');
        if not v_lock.held then
            return v_lock.answer;
        end if;
        select s.failure_count + 1 into v_failure_count from public.smelts as s where s.id = p_smelt_id;
        if p_transient and v_failure_count < v_max_failures then
            return smelt.release_to_queue(
                p_smelt_id, p_attempt, 'retrying', v_failure_count,
                smelt.retry_delay(v_failure_count, p_retry_after_s), 'Retrying...'
            );
        end if;
        update public.smelts as s set failure_count = v_failure_count where s.id = p_smelt_id;
        return smelt.settle_smelt(p_smelt_id, smelt.normalize_error_code(p_error_code), false);
    end
    $$;

-- Give a smelt back unfinished: claimable at once, no failure counted.
create function smelt.release_smelt(p_smelt_id uuid, p_attempt bigint) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_smelt public.smelts;
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled,released}');
        if not v_lock.held then
            return v_lock.answer;
        end if;
        select s.* into v_smelt from public.smelts as s where s.id = p_smelt_id;
        return smelt.release_to_queue(
            p_smelt_id, p_attempt, 'released', v_smelt.failure_count, '0',
            case when v_smelt.status > 'pending' then 'Resuming...' end
        );
    end
    $$;

-- Complete a smelt: `results` is `[{file_id, filename, content}]`. The outcome is partial if a file failed.
create function public.complete_smelt(smelt_id uuid, attempt bigint, results jsonb) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.complete_smelt(complete_smelt.smelt_id, complete_smelt.attempt, complete_smelt.results) $$;

-- Fail a smelt with a code of the contract; a passing cause has it tried again while tries are left.
create function public.fail_smelt(
    smelt_id uuid,
    attempt bigint,
    error_code text,
    transient boolean default false,
    retry_after_s double precision default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.fail_smelt(
            fail_smelt.smelt_id, fail_smelt.attempt, fail_smelt.error_code, fail_smelt.transient,
            fail_smelt.retry_after_s
        )
    $$;

-- Give a smelt back, as a worker does that shuts down.
create function public.release_smelt(smelt_id uuid, attempt bigint) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.release_smelt(release_smelt.smelt_id, release_smelt.attempt) $$;

revoke all on function
    smelt.lock_to_settle, smelt.store_results, smelt.complete_smelt, smelt.retry_delay, smelt.release_to_queue,
    smelt.fail_smelt, smelt.release_smelt, public.complete_smelt, public.fail_smelt, public.release_smelt
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.complete_smelt, smelt.fail_smelt, smelt.release_smelt,
    public.complete_smelt, public.fail_smelt, public.release_smelt
    to service_role;
