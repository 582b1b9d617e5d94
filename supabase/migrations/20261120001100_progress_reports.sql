-- Reports of a worker about its attempts: stage, percentage, files, segments, checkpoints, and renewals of leases.

-- The effect of a report: `visible` if a watcher can see it, `advanced` if it saved work for later attempts.
create type smelt.report_effect as (visible boolean, advanced boolean);

-- Reject a status or stage that a report cannot set: an unknown or a terminal one. Null is accepted.
create function smelt.check_reported_stage(p_status text) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_accepted constant text[] := array(
            select s.status from smelt.stages as s where not smelt.is_terminal(s.status) order by s.position
        );
    begin
        if p_status <> all (v_accepted) then
            perform smelt.raise_rejection('invalid_request', format(
                'A report cannot set the stage "%s"; the stages are %s.', p_status, array_to_string(v_accepted, ', ')
            ));
        end if;
    end
    $$;

-- Return the row of a file that has not ended after a report about it; stage and progress never decrease. The sentence
-- of a failed file is that of its code, unless the report has a more exact one.
create function smelt.advance_file(p_file public.smelt_files, p_report jsonb) returns public.smelt_files
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_new record;
    begin
        select * into v_new
        from jsonb_to_record(p_report) as r (
            status text, stage text, progress numeric, duration_seconds numeric, language text,
            language_probability numeric, error_code text, error_message text, transcribed boolean, trust jsonb
        );
        p_file.duration_seconds := coalesce(v_new.duration_seconds, p_file.duration_seconds);
        p_file.language := coalesce(v_new.language, p_file.language);
        p_file.language_probability := coalesce(v_new.language_probability, p_file.language_probability);
        p_file.transcribed := p_file.transcribed or coalesce(v_new.transcribed, false);
        p_file.trust := coalesce(v_new.trust, p_file.trust);
        p_file.progress := greatest(p_file.progress, least(coalesce(v_new.progress, 0), 100));
        if v_new.status = 'completed' then
            p_file.status := 'completed';
            p_file.stage := 'completed';
            p_file.progress := 100;
        elsif v_new.status = 'failed' then
            p_file.status := 'failed';
            p_file.stage := 'failed';
            p_file.error_code := smelt.normalize_error_code(v_new.error_code);
            p_file.error_message := coalesce(
                nullif(left(v_new.error_message, 500), ''), smelt.error_sentence(p_file.error_code)
            );
        elsif v_new.status not in ('pending', 'processing') then
            perform smelt.raise_rejection('invalid_request', format(
                'A report cannot set the status "%s" of a file; it can set processing, completed, failed.',
                v_new.status
            ));
        else
            perform smelt.check_reported_stage(v_new.stage);
            if v_new.status = 'processing' or v_new.stage <> 'pending' then
                p_file.status := 'processing';
                p_file.stage := smelt.further_stage(smelt.further_stage(p_file.stage, 'validating'), v_new.stage);
            end if;
        end if;
        return p_file;
    end
    $$;

-- Update the files of a report; those that have ended stay as they are. A file has advanced if it is transcribed, or if
-- its progress in transcribing or synthesizing is higher than ever before. A checkpoint proves no progress: a worker in
-- another mode replaces it by an earlier one.
create function smelt.apply_files(p_smelt_id uuid, p_files jsonb) returns smelt.report_effect
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_effect smelt.report_effect := (false, false);
        v_report jsonb;
        v_file public.smelt_files;
        v_next public.smelt_files;
        v_decoded constant numeric := (
            select s.min_percentage from smelt.stages as s where s.status = 'transcribing'
        );
    begin
        for v_report in select value from jsonb_array_elements(p_files) loop
            select f.* into v_file
            from public.smelt_files as f
            where f.id = (v_report ->> 'id')::uuid and f.smelt_id = p_smelt_id
                and f.status not in ('completed', 'failed');
            continue when not found;
            v_next := smelt.advance_file(v_file, v_report);
            continue when v_next is not distinct from v_file;
            update public.smelt_files as f
            set status = v_next.status, stage = v_next.stage, progress = v_next.progress,
                duration_seconds = v_next.duration_seconds, language = v_next.language,
                language_probability = v_next.language_probability, transcribed = v_next.transcribed,
                trust = v_next.trust, error_code = v_next.error_code, error_message = v_next.error_message
            where f.id = v_file.id;
            v_effect.advanced := v_effect.advanced
                or (v_next.transcribed and not v_file.transcribed)
                or v_next.progress > greatest(v_file.progress, v_decoded);
            v_effect.visible := v_effect.visible
                or (
                    v_next.status, v_next.stage, v_next.progress, v_next.duration_seconds, v_next.language,
                    v_next.language_probability, v_next.trust
                ) is distinct from (
                    v_file.status, v_file.stage, v_file.progress, v_file.duration_seconds, v_file.language,
                    v_file.language_probability, v_file.trust
                );
        end loop;
        return v_effect;
    end
    $$;

-- Save the checkpoints of a report.
create function smelt.apply_checkpoints(p_smelt_id uuid, p_files jsonb) returns void
    language sql volatile
    set search_path = ''
    as $$
        insert into smelt.checkpoints as c (file_id, checkpoint)
        select f.id, r.checkpoint
        from jsonb_to_recordset(p_files) as r (id uuid, checkpoint jsonb)
        join public.smelt_files as f on f.id = r.id and f.smelt_id = p_smelt_id
        where r.checkpoint is not null
        on conflict (file_id) do update set checkpoint = excluded.checkpoint
        where c.checkpoint is distinct from excluded.checkpoint
    $$;

-- Delete segments beyond the end of a transcript, for each file with a `segment_count` in the report; return true if
-- there were any. An earlier attempt, with another model, may have saved more segments.
create function smelt.truncate_segments(p_smelt_id uuid, p_files jsonb) returns boolean
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        delete from public.smelt_segments as g
        using jsonb_to_recordset(p_files) as r (id uuid, segment_count integer)
        where g.file_id = r.id and g.smelt_id = p_smelt_id and g.index >= r.segment_count;
        return found;
    end
    $$;

-- Save the segments of a report under a `seq`; unchanged ones keep theirs.
create function smelt.apply_segments(p_smelt public.smelts, p_seq bigint, p_segments jsonb) returns smelt.report_effect
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_effect smelt.report_effect;
    begin
        with written as (
            insert into public.smelt_segments as g (
                file_id, index, smelt_id, run, seq, start_s, end_s, text, speaker,
                avg_logprob, no_speech_prob, compression_ratio, words
            )
            select
                f.id, r.index, p_smelt.id, p_smelt.run, p_seq, r.start, r."end", r.text, r.speaker,
                r.avg_logprob, r.no_speech_prob, r.compression_ratio, r.words
            from jsonb_to_recordset(p_segments) as r (
                file_id uuid, index integer, start double precision, "end" double precision, text text, speaker text,
                avg_logprob double precision, no_speech_prob double precision, compression_ratio double precision,
                words jsonb
            )
            join public.smelt_files as f on f.id = r.file_id and f.smelt_id = p_smelt.id
            on conflict (file_id, index) do update
            set run = excluded.run, seq = excluded.seq, start_s = excluded.start_s, end_s = excluded.end_s,
                text = excluded.text, speaker = excluded.speaker, avg_logprob = excluded.avg_logprob,
                no_speech_prob = excluded.no_speech_prob, compression_ratio = excluded.compression_ratio,
                words = excluded.words
            where (g.start_s, g.end_s, g.text, g.speaker, g.avg_logprob, g.no_speech_prob, g.compression_ratio, g.words)
                is distinct from (
                    excluded.start_s, excluded.end_s, excluded.text, excluded.speaker, excluded.avg_logprob,
                    excluded.no_speech_prob, excluded.compression_ratio, excluded.words
                )
            -- `xmax` is 0 for a row that this statement inserted, and set for one that it updated.
            returning xmax = 0 as inserted
        )
        select count(*) > 0, coalesce(bool_or(w.inserted), false) into v_effect from written as w;
        return v_effect;
    end
    $$;

-- Save the outputs of a report; return true if one has changed. A file's outputs are written in order: those of an
-- earlier attempt after the reported ones are deleted.
create function smelt.apply_outputs(p_smelt_id uuid, p_outputs jsonb) returns boolean
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_is_changed boolean;
    begin
        insert into smelt.outputs as o (file_id, position, title, content, is_complete)
        select f.id, r.position, r.title, r.content, r.is_complete
        from jsonb_to_recordset(p_outputs) as r (
            file_id uuid, position integer, title text, content text, is_complete boolean
        )
        join public.smelt_files as f on f.id = r.file_id and f.smelt_id = p_smelt_id
        on conflict (file_id, position) do update
        set title = excluded.title, content = excluded.content, is_complete = excluded.is_complete
        where (o.title, o.content, o.is_complete)
            is distinct from (excluded.title, excluded.content, excluded.is_complete);
        v_is_changed := found;
        delete from smelt.outputs as o
        using (
            select r.file_id, max(r.position) as position
            from jsonb_to_recordset(p_outputs) as r (file_id uuid, position integer)
            group by r.file_id
        ) as r
        join public.smelt_files as f on f.id = r.file_id and f.smelt_id = p_smelt_id
        where o.file_id = f.id and o.position > r.position;
        return v_is_changed or found;
    end
    $$;

-- Return the verdict for an attempt: `go_on` if it holds the smelt, `cancelled` if a client cancelled the smelt, else
-- `lost`.
create function smelt.verdict_for(p_smelt_id uuid, p_attempt bigint) returns text
    language sql stable
    set search_path = ''
    as $$
        select coalesce((
            select case
                when exists (
                    select from smelt.leases as l where l.smelt_id = s.id and l.attempt = p_attempt
                ) then 'go_on'
                when s.error_code = 'cancelled' then 'cancelled'
                else 'lost'
            end
            from public.smelts as s
            where s.id = p_smelt_id and s.attempt = p_attempt
        ), 'lost')
    $$;

-- Return the row of a smelt after a report: status and percentage never decrease, and the percentage is clamped to the
-- range of the stage.
create function smelt.advance_smelt(
    p_smelt public.smelts, p_status text, p_percentage numeric, p_message text
) returns public.smelts
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_stage smelt.stages;
    begin
        perform smelt.check_reported_stage(p_status);
        select s.* into v_stage
        from smelt.stages as s
        where s.status = smelt.further_stage(p_smelt.status, p_status);
        -- A resumed attempt repeats earlier stages first: until it has caught up, the message stays `Resuming...`.
        p_smelt.message := case
            when v_stage.status <> p_status then p_smelt.message
            else coalesce(left(p_message, 200), smelt.stage_message(p_status), p_smelt.message)
        end;
        p_smelt.status := v_stage.status;
        p_smelt.percentage := greatest(
            v_stage.min_percentage,
            p_smelt.percentage,
            least(round(coalesce(p_percentage, p_smelt.percentage), 1), v_stage.max_percentage)
        );
        return p_smelt;
    end
    $$;

-- Return the moment of an ETA in seconds, at most a year ahead; null for null and NaN.
create function smelt.estimated_end(p_eta_seconds double precision, p_now timestamptz) returns timestamptz
    language sql immutable
    set search_path = ''
    as $$
        select p_now + make_interval(secs => least(greatest(p_eta_seconds, 0), 31536000))
        where p_eta_seconds <> 'NaN'
    $$;

-- Return true if a watcher can distinguish two states of a smelt. An ETA that moved by a second or less is the same.
create function smelt.has_visible_change(p_old public.smelts, p_new public.smelts) returns boolean
    language sql immutable
    set search_path = ''
    as $$
        select (p_new.status, p_new.percentage, p_new.message)
                is distinct from (p_old.status, p_old.percentage, p_old.message)
            or (p_new.estimated_end_at is null) <> (p_old.estimated_end_at is null)
            or coalesce(p_new.estimated_end_at - p_old.estimated_end_at not between '-1 s' and '1 s', false)
    $$;

-- Delete the suspicion of a smelt that has passed the stage in which its worker stopped: it reports that stage or a
-- later one, without the risk.
create function smelt.clear_suspect(p_smelt_id uuid, p_status text, p_risk text) returns void
    language sql volatile
    set search_path = ''
    as $$
        delete from smelt.suspects as x
        where x.smelt_id = p_smelt_id and x.risk is distinct from p_risk
            and p_status = any (case x.risk
                when 'decode' then array['decoding', 'transcribing', 'synthesizing']
                else array['transcribing', 'synthesizing']
            end)
    $$;

-- Save the stage, files, segments and outputs of a report about a locked smelt. Return the progress to broadcast after
-- the commit; null if a watcher could not see a change.
create function smelt.apply_report(
    p_smelt public.smelts, p_status text, p_percentage numeric, p_message text, p_eta_seconds double precision,
    p_files jsonb, p_segments jsonb, p_outputs jsonb
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_next public.smelts;
        v_files smelt.report_effect;
        v_segments smelt.report_effect;
        v_truncated boolean;
        v_outputs_changed boolean;
    begin
        v_files := smelt.apply_files(p_smelt.id, p_files);
        v_segments := smelt.apply_segments(p_smelt, p_smelt.seq + 1, p_segments);
        v_truncated := smelt.truncate_segments(p_smelt.id, p_files);
        v_outputs_changed := smelt.apply_outputs(p_smelt.id, p_outputs);
        perform smelt.apply_checkpoints(p_smelt.id, p_files);
        v_next := smelt.advance_smelt(p_smelt, p_status, p_percentage, p_message);
        v_next.estimated_end_at := coalesce(smelt.estimated_end(p_eta_seconds, v_now), p_smelt.estimated_end_at);
        v_next.failure_count := case
            when v_files.advanced or v_segments.advanced then 0 else p_smelt.failure_count
        end;
        if not (
            smelt.has_visible_change(p_smelt, v_next) or v_files.visible or v_segments.visible or v_truncated
            or v_outputs_changed
        ) then
            update public.smelts as s
            set failure_count = v_next.failure_count
            where s.id = p_smelt.id and s.failure_count <> v_next.failure_count;
            return null;
        end if;
        update public.smelts as s
        set seq = s.seq + 1, updated_at = v_now, failure_count = v_next.failure_count,
            status = v_next.status, percentage = v_next.percentage, message = v_next.message,
            estimated_end_at = v_next.estimated_end_at
        where s.id = p_smelt.id
        returning s.* into v_next;
        return smelt.progress_payload(v_next, gen_random_uuid(), v_now);
    end
    $$;

-- Save a report and renew the lease. The response contains the verdict and, as `event`, the progress to broadcast after
-- the commit; null if a watcher could not see a change. A worker has lost an attempt that it has dispatched.
create function smelt.report_smelt_progress(
    p_smelt_id uuid, p_attempt bigint, p_status text, p_percentage double precision, p_message text,
    p_eta_seconds double precision, p_files jsonb, p_segments jsonb, p_outputs jsonb, p_lease_s integer, p_risk text
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts;
        v_verdict text;
    begin
        select s.* into v_smelt from public.smelts as s where s.id = p_smelt_id for no key update;
        v_verdict := smelt.verdict_for(p_smelt_id, p_attempt);
        if v_verdict = 'go_on' then
            update smelt.leases as l
            set expires_at = clock_timestamp() + smelt.lease_length(p_lease_s), risk = p_risk
            where l.smelt_id = p_smelt_id and l.worker_id is not null;
            v_verdict := case when found then 'go_on' else 'lost' end;
        end if;
        if v_verdict <> 'go_on' then
            return jsonb_build_object('verdict', v_verdict, 'event', null);
        end if;
        perform smelt.clear_suspect(p_smelt_id, p_status, p_risk);
        return jsonb_build_object('verdict', 'go_on', 'event', smelt.apply_report(
            v_smelt, p_status, nullif(p_percentage, 'NaN')::numeric, p_message, p_eta_seconds, p_files, p_segments,
            p_outputs
        ));
    end
    $$;

-- Renew the leases of a worker and return a verdict for each. The call also counts as a heartbeat of the worker.
create function smelt.renew_smelt_leases(p_worker_id text, p_leases jsonb, p_lease_s integer) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    begin
        -- Locked in one order, so that two calls of one worker cannot deadlock.
        with renewed as materialized (
            select l.smelt_id
            from jsonb_to_recordset(p_leases) as r (smelt_id uuid, attempt bigint)
            join smelt.leases as l on l.smelt_id = r.smelt_id and l.attempt = r.attempt and l.worker_id is not null
            order by l.smelt_id
            for update of l
        )
        update smelt.leases as l
        set expires_at = clock_timestamp() + smelt.lease_length(p_lease_s)
        from renewed as r
        where l.smelt_id = r.smelt_id;
        update smelt.workers as w set seen_at = clock_timestamp() where w.worker_id = p_worker_id;
        return jsonb_build_object('leases', (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'smelt_id', r.smelt_id, 'attempt', r.attempt,
                        'verdict', smelt.verdict_for(r.smelt_id, r.attempt)
                    )
                ),
                '[]'
            )
            from jsonb_to_recordset(p_leases) as r (smelt_id uuid, attempt bigint)
        ));
    end
    $$;

-- Return the saved segments of a file.
create function smelt.load_smelt_segments(p_smelt_id uuid, p_file_id uuid) returns jsonb
    language sql stable security definer
    set search_path = ''
    as $$
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'index', g.index, 'start', g.start_s, 'end', g.end_s, 'text', g.text, 'speaker', g.speaker,
                    'avg_logprob', g.avg_logprob, 'no_speech_prob', g.no_speech_prob,
                    'compression_ratio', g.compression_ratio, 'words', g.words
                )
                order by g.index
            ),
            '[]'
        )
        from public.smelt_segments as g
        where g.smelt_id = p_smelt_id and g.file_id = p_file_id
    $$;

-- Report the progress of an attempt: stage, percentage, files, segments, outputs and checkpoints. Lower stages and
-- percentages than before are ignored. A key that is absent from a file leaves its value; `segment_count` removes all
-- segments from that index on. `outputs` are those that changed, `[{file_id, position, title, content, is_complete}]`.
-- `risk` is `decode` or `model` while the file is decoded or the model reads it, else null: the report with it is
-- acknowledged before that work begins, and one without it as soon as it has ended.
create function public.report_smelt_progress(
    smelt_id uuid,
    attempt bigint,
    status text default null,
    percentage double precision default null,
    message text default null,
    eta_seconds double precision default null,
    files jsonb default '[]',
    segments jsonb default '[]',
    outputs jsonb default '[]',
    lease_s integer default 30,
    risk text default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.report_smelt_progress(
            report_smelt_progress.smelt_id, report_smelt_progress.attempt, report_smelt_progress.status,
            report_smelt_progress.percentage, report_smelt_progress.message, report_smelt_progress.eta_seconds,
            report_smelt_progress.files, report_smelt_progress.segments, report_smelt_progress.outputs,
            report_smelt_progress.lease_s, report_smelt_progress.risk
        )
    $$;

-- Renew many leases in one call: `[{smelt_id, attempt}]`.
create function public.renew_smelt_leases(worker_id text, leases jsonb, lease_s integer default 30) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.renew_smelt_leases(
            renew_smelt_leases.worker_id, renew_smelt_leases.leases, renew_smelt_leases.lease_s
        )
    $$;

-- Return the segments of a file that earlier attempts saved, in order.
create function public.load_smelt_segments(smelt_id uuid, file_id uuid) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.load_smelt_segments(load_smelt_segments.smelt_id, load_smelt_segments.file_id) $$;

revoke all on function
    smelt.check_reported_stage, smelt.advance_file, smelt.apply_files, smelt.apply_checkpoints, smelt.truncate_segments,
    smelt.apply_segments, smelt.apply_outputs, smelt.verdict_for, smelt.advance_smelt, smelt.estimated_end,
    smelt.has_visible_change, smelt.clear_suspect, smelt.apply_report, smelt.report_smelt_progress,
    smelt.renew_smelt_leases, smelt.load_smelt_segments, public.report_smelt_progress, public.renew_smelt_leases,
    public.load_smelt_segments
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.report_smelt_progress, smelt.renew_smelt_leases, smelt.load_smelt_segments, public.report_smelt_progress,
    public.renew_smelt_leases, public.load_smelt_segments
    to service_role;
