-- The end of an attempt: complete, fail or release; a repeated call returns the first response. And attempts of
-- external services, whose callbacks report and end them.

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

-- Make an unfinished smelt claimable again: without a failure at once or after `p_retry_after_s`, or after a delay if a
-- failure is counted. At the limit of failures it ends.
create function smelt.release_smelt(
    p_smelt_id uuid, p_attempt bigint, p_is_failure boolean, p_reason text, p_retry_after_s double precision
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_lock record;
        v_failure_count integer;
        v_delay constant interval := make_interval(
            secs => least(greatest(coalesce(nullif(p_retry_after_s, 'NaN'), 0), 0), 3600)
        );
    begin
        v_lock := smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled,released}');
        if not v_lock.is_held then
            return smelt.with_outbox(v_lock.response, p_smelt_id, p_attempt);
        end if;
        if not coalesce(p_is_failure, false) then
            perform smelt.record_attempt(p_smelt_id, p_attempt, false, p_reason);
            return smelt.release_to_queue(
                p_smelt_id, p_attempt, 'released', v_delay,
                case when v_delay > '0' then 'Retrying...' else 'Resuming...' end
            );
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

-- Release an unfinished smelt to the queue: without a failure, for example because the worker drains, at once or after
-- `retry_after_s`; or, with `counts`, after a delay and with a failure, because work on its file was killed. `reason`
-- is for the operator.
create function public.release_smelt(
    smelt_id uuid,
    attempt bigint,
    counts boolean default false,
    reason text default null,
    retry_after_s double precision default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.release_smelt(
            release_smelt.smelt_id, release_smelt.attempt, release_smelt.counts, release_smelt.reason,
            release_smelt.retry_after_s
        )
    $$;

-- Dispatch an attempt to an external service: from now on only `report_dispatched_smelt` renews its lease.
create function smelt.dispatch_smelt(p_smelt_id uuid, p_attempt bigint, p_lease_s integer) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_verdict text;
    begin
        perform from public.smelts as s where s.id = p_smelt_id for no key update;
        v_verdict := smelt.verdict_for(p_smelt_id, p_attempt);
        if v_verdict = 'go_on' then
            update smelt.leases as l
            set worker_id = null, claim_token = null, expires_at = clock_timestamp() + smelt.lease_length(p_lease_s)
            where l.smelt_id = p_smelt_id;
        end if;
        return jsonb_build_object('verdict', v_verdict);
    end
    $$;

-- Return the recordings of a smelt that are neither transcribed nor failed.
create function smelt.untranscribed_files(p_smelt_id uuid) returns setof public.smelt_files
    language sql stable
    set search_path = ''
    as $$
        select f.* from public.smelt_files as f
        where f.smelt_id = p_smelt_id and f.input_type = 'audio' and f.status <> 'failed' and not f.transcribed
    $$;

-- Return true if an attempt of an external service ended because it has transcribed all files, none of which has been
-- reset since: a repeated callback of this attempt is accepted then, and changes nothing.
create function smelt.has_transcribed(p_smelt_id uuid, p_attempt bigint) returns boolean
    language sql stable
    set search_path = ''
    as $$
        select exists (
            select from smelt.attempts as a
            where a.smelt_id = p_smelt_id and a.attempt = p_attempt
                and a.ended_as = 'released' and a.risk = 'external' and not a.is_failure
        ) and not exists (select from smelt.untranscribed_files(p_smelt_id))
    $$;

-- Reject segments that do not continue the saved ones of a file: with a gap, other than a saved one of the same index,
-- before the last one, beyond the end of the recording, or after the end of its transcript.
create function smelt.check_segments(p_file public.smelt_files, p_segments jsonb) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_saved record;
        v_new record;
        v_changed integer;
    begin
        select coalesce(max(g.index) + 1, 0) as count, max(g.start_s) as start_s into v_saved
        from public.smelt_segments as g
        where g.file_id = p_file.id;
        select min(r.index) as first, max(r.index) as last, max(r."end") as end_s,
            min(r.start) filter (where r.index >= v_saved.count) as start_s
        into v_new
        from jsonb_to_recordset(p_segments) as r (index integer, start double precision, "end" double precision);
        select min(r.index) into v_changed
        from jsonb_to_recordset(p_segments) as r (
            index integer, start double precision, "end" double precision, text text, speaker text, words jsonb
        )
        join public.smelt_segments as g on g.file_id = p_file.id and g.index = r.index
        where (g.start_s, g.end_s, g.text, g.speaker, g.words)
            is distinct from (r.start, r."end", r.text, r.speaker, r.words);
        if v_changed is not null then
            perform smelt.raise_rejection('invalid_request', format(
                'Segment %s is saved with other content; saved segments never change.', v_changed
            ));
        elsif v_new.first > v_saved.count then
            perform smelt.raise_rejection('invalid_request', format(
                'Segment %s leaves a gap: the next index of this file is %s.', v_new.first, v_saved.count
            ));
        elsif v_new.last >= v_saved.count and (p_file.transcribed or p_file.status = 'failed') then
            perform smelt.raise_rejection('invalid_request', format(
                'Segment %s comes after the end of the transcript, which has %s.', v_new.last, v_saved.count
            ));
        elsif v_new.end_s > p_file.duration_seconds then
            perform smelt.raise_rejection('invalid_request', format(
                'A segment ends at %s s; the recording lasts %s s.', v_new.end_s, p_file.duration_seconds
            ));
        elsif v_new.start_s < v_saved.start_s then
            perform smelt.raise_rejection('invalid_request', format(
                'A segment starts at %s s, before the last saved one at %s s.', v_new.start_s, v_saved.start_s
            ));
        end if;
    end
    $$;

-- Return the file that a callback is about: the named one, or the only recording of the smelt. Null if the smelt does
-- not have the named one.
create function smelt.reported_file(p_smelt_id uuid, p_file_id uuid) returns public.smelt_files
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_file public.smelt_files;
        v_count integer;
    begin
        select count(*) into v_count
        from public.smelt_files as f
        where f.smelt_id = p_smelt_id;
        if p_file_id is null and v_count > 1 then
            perform smelt.raise_rejection('invalid_request', '"file_id" is needed: the smelt has several files.');
        end if;
        select f.* into v_file
        from public.smelt_files as f
        where f.smelt_id = p_smelt_id and f.id = coalesce(p_file_id, f.id);
        return v_file;
    end
    $$;

-- Return the percentage of a smelt whose files are transcribed, weighted by their durations, if a share from 0 to 1 of
-- this file is.
create function smelt.transcribing_percentage(p_smelt_id uuid, p_file_id uuid, p_share numeric) returns numeric
    language sql stable
    set search_path = ''
    as $$
        select min(f.low) + min(f.high - f.low) * sum(f.share * f.duration_s) / nullif(sum(f.duration_s), 0)
        from (
            select s.min_percentage as low, s.max_percentage as high, f.duration_seconds as duration_s,
                greatest(
                    (least(f.progress, s.max_percentage) - s.min_percentage) / (s.max_percentage - s.min_percentage),
                    case when f.id = p_file_id then p_share end,
                    f.transcribed::integer,
                    0
                ) as share
            from public.smelt_files as f
            cross join smelt.stages as s
            where f.smelt_id = p_smelt_id and f.status <> 'failed' and s.status = 'transcribing'
        ) as f
    $$;

-- Return the files of a callback in the format of `report_smelt_progress`. New segments move the checkpoint, at which a
-- worker resumes, to the end of the last one. An error that is not transient fails the named file, or else all that are
-- not transcribed.
create function smelt.files_of_callback(
    p_smelt_id uuid, p_file public.smelt_files, p_share numeric, p_report jsonb
) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        with last as (
            select
                (p_report -> 'segments' -> -1 ->> 'index')::integer as index,
                (p_report -> 'segments' -> -1 ->> 'end')::double precision as end_s
        ), failed as (
            select u.id
            from smelt.untranscribed_files(p_smelt_id) as u
            where p_report -> 'error' ->> 'transient' = 'false'
                and (u.id = (p_report ->> 'file_id')::uuid or not p_report ? 'file_id')
        ), reported as (
            select jsonb_build_object(
                'id', p_file.id, 'status', 'processing', 'stage', 'transcribing',
                'progress', round(s.min_percentage + (s.max_percentage - s.min_percentage) * p_share, 2),
                'language', p_report -> 'language',
                'transcribed', p_report -> 'done',
                'checkpoint', case when l.index >= (
                    select count(*) from public.smelt_segments as g where g.file_id = p_file.id
                ) then jsonb_build_object('transcribed_s', l.end_s, 'segment_count', l.index + 1) end
            ) as file
            from smelt.stages as s
            cross join last as l
            where s.status = 'transcribing' and p_file.id is not null
        )
        select coalesce(jsonb_agg(e.file), '[]')
        from (
            select r.file from reported as r
            union all
            select jsonb_build_object('id', f.id, 'status', 'failed', 'error_code', p_report -> 'error' -> 'code')
            from failed as f
        ) as e
    $$;

-- End an attempt of an external service after a callback, if it has ended: with a failure after a transient error, or
-- without one once no file is left to transcribe. Any worker continues.
create function smelt.end_dispatched_attempt(p_smelt_id uuid, p_attempt bigint, p_error jsonb) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_reason constant text := coalesce('the external service reports: ' || (p_error ->> 'message'),
            'the external service reports an error');
        v_failure_count integer;
    begin
        if p_error ->> 'transient' = 'true' then
            v_failure_count := smelt.count_failure(p_smelt_id, p_attempt, v_reason);
            if smelt.is_at_failure_limit(p_smelt_id, v_failure_count) then
                perform smelt.settle_smelt(p_smelt_id, p_error ->> 'code', true);
            else
                perform smelt.release_to_queue(
                    p_smelt_id, p_attempt, 'retrying', smelt.retry_delay(v_failure_count, null), 'Retrying...'
                );
            end if;
        elsif not exists (select from smelt.untranscribed_files(p_smelt_id)) then
            perform smelt.record_attempt(p_smelt_id, p_attempt, false, case
                when p_error is null then 'the external service has transcribed the files' else v_reason
            end);
            perform smelt.release_to_queue(
                p_smelt_id, p_attempt, 'released', '0', smelt.stage_message('transcribing')
            );
        end if;
    end
    $$;

-- Save a callback of an external service and renew the lease, with the risk `external`. The response contains the
-- verdict, `foreign` for a file of another smelt; the `seq`; and, as `event`, the progress to broadcast after the
-- commit.
create function smelt.report_dispatched_smelt(
    p_smelt_id uuid, p_attempt bigint, p_report jsonb, p_lease_s integer
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts;
        v_verdict text;
        v_is_repeated boolean;
        v_file public.smelt_files;
        v_share numeric;
        v_event jsonb;
    begin
        select s.* into v_smelt from public.smelts as s where s.id = p_smelt_id for no key update;
        v_verdict := smelt.verdict_for(p_smelt_id, p_attempt);
        v_is_repeated := v_verdict = 'lost' and smelt.has_transcribed(p_smelt_id, p_attempt);
        if v_verdict <> 'go_on' and not v_is_repeated then
            return jsonb_build_object('verdict', v_verdict, 'seq', v_smelt.seq, 'event', null);
        end if;
        if p_report ?| '{file_id,progress,segments,language,done}' then
            v_file := smelt.reported_file(p_smelt_id, (p_report ->> 'file_id')::uuid);
            if v_file.id is null then
                return jsonb_build_object('verdict', 'foreign', 'seq', v_smelt.seq, 'event', null);
            end if;
            perform smelt.check_segments(v_file, coalesce(p_report -> 'segments', '[]'));
        end if;
        if not v_is_repeated then
            update smelt.leases as l
            set expires_at = clock_timestamp() + smelt.lease_length(p_lease_s), risk = 'external'
            where l.smelt_id = p_smelt_id;
            v_share := case
                when p_report -> 'done' = 'true' then 1 else coalesce((p_report ->> 'progress')::numeric, 0) / 100
            end;
            v_event := smelt.apply_report(
                v_smelt, 'transcribing', smelt.transcribing_percentage(p_smelt_id, v_file.id, v_share),
                p_report ->> 'message', null, smelt.files_of_callback(p_smelt_id, v_file, v_share, p_report),
                (
                    select coalesce(jsonb_agg(r.segment || jsonb_build_object('file_id', v_file.id)), '[]')
                    from jsonb_array_elements(p_report -> 'segments') as r (segment)
                ),
                '[]'
            );
            perform smelt.end_dispatched_attempt(p_smelt_id, p_attempt, p_report -> 'error');
        end if;
        return jsonb_build_object(
            'verdict', 'go_on', 'event', v_event,
            'seq', (select s.seq from public.smelts as s where s.id = p_smelt_id)
        );
    end
    $$;

-- Dispatch an attempt to an external service, under a lease of `lease_s` seconds. The worker that claimed it reports
-- and renews it no more; it may still release it, if the service does not accept it.
create function public.dispatch_smelt(smelt_id uuid, attempt bigint, lease_s integer default 120) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.dispatch_smelt(dispatch_smelt.smelt_id, dispatch_smelt.attempt, dispatch_smelt.lease_s) $$;

-- Report the progress of a dispatched attempt: `{file_id, progress, message, segments, language, done, error}`, each of
-- which may be absent. `progress` is the share of the file in percent. Segments continue the saved ones; those that are
-- saved already may be repeated. Once all files are `done` or failed, the attempt ends, and any worker continues; a
-- transient `error` ends it as a failure.
create function public.report_dispatched_smelt(
    smelt_id uuid, attempt bigint, report jsonb default '{}', lease_s integer default 120
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.report_dispatched_smelt(
            report_dispatched_smelt.smelt_id, report_dispatched_smelt.attempt, report_dispatched_smelt.report,
            report_dispatched_smelt.lease_s
        )
    $$;

revoke all on function
    smelt.lock_to_settle, smelt.with_outbox, smelt.store_results, smelt.complete_smelt, smelt.retry_delay,
    smelt.release_to_queue, smelt.count_failure, smelt.fail_smelt, smelt.release_smelt, public.complete_smelt,
    public.fail_smelt, public.release_smelt, smelt.dispatch_smelt, smelt.untranscribed_files, smelt.has_transcribed,
    smelt.check_segments, smelt.reported_file, smelt.transcribing_percentage, smelt.files_of_callback,
    smelt.end_dispatched_attempt, smelt.report_dispatched_smelt, public.dispatch_smelt, public.report_dispatched_smelt
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.complete_smelt, smelt.fail_smelt, smelt.release_smelt, public.complete_smelt, public.fail_smelt,
    public.release_smelt, smelt.dispatch_smelt, smelt.report_dispatched_smelt, public.dispatch_smelt,
    public.report_dispatched_smelt
    to service_role;
