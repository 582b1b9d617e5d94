-- What a worker tells while it works: stage, percentage, files, segments, checkpoints, and that it is alive.

-- What a report changed: something a watcher can see, and work that an attempt after this one need not do again.
create type smelt.report_effect as (visible boolean, advanced boolean);

-- What a report makes of a file that has not ended: stage and progress never go back. Answers the row as it should be.
create function smelt.advance_file(p_file public.smelt_files, p_report jsonb) returns public.smelt_files
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_new record;
    begin
        select * into v_new
        from jsonb_to_record(p_report) as r (
            status public.smelt_file_status, stage public.smelt_status, progress numeric, duration_seconds numeric,
            language text, language_probability numeric, error_code text, transcribed boolean, trust jsonb
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
            p_file.error_message := smelt.error_sentence(p_file.error_code);
        elsif v_new.status = 'processing' or v_new.stage > 'pending' then
            p_file.status := 'processing';
            p_file.stage := greatest(p_file.stage, least(coalesce(v_new.stage, 'validating'), 'synthesizing'));
        end if;
        return p_file;
    end
    $$;

-- Bring the files up to what a report says; what has ended stays as it is.
create function smelt.apply_files(p_smelt_id uuid, p_files jsonb) returns smelt.report_effect
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_effect smelt.report_effect := (false, false);
        v_report jsonb;
        v_file public.smelt_files;
        v_next public.smelt_files;
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
            v_effect.advanced := v_effect.advanced or v_next.transcribed and not v_file.transcribed;
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

-- Save the checkpoints of a report; answer whether one of them is new.
create function smelt.apply_checkpoints(p_smelt_id uuid, p_files jsonb) returns boolean
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        insert into smelt.checkpoints as c (file_id, checkpoint)
        select f.id, r.checkpoint
        from jsonb_to_recordset(p_files) as r (id uuid, checkpoint jsonb)
        join public.smelt_files as f on f.id = r.id and f.smelt_id = p_smelt_id
        where r.checkpoint is not null
        on conflict (file_id) do update set checkpoint = excluded.checkpoint
        where c.checkpoint is distinct from excluded.checkpoint;
        return found;
    end
    $$;

-- Remove what an earlier attempt heard beyond the end of a transcript, from all files of which a report says how many
-- segments they have; answer whether there was any. Another model may hear fewer.
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

-- Save the segments of a report under a `seq`; those that are there already and say the same keep theirs.
create function smelt.apply_segments(p_smelt public.smelts, p_seq bigint, p_segments jsonb) returns smelt.report_effect
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_effect smelt.report_effect;
    begin
        with written as (
            insert into public.smelt_segments as g (
                file_id, index, smelt_id, run, seq, start_s, end_s, text,
                avg_logprob, no_speech_prob, compression_ratio, words
            )
            select
                f.id, r.index, p_smelt.id, p_smelt.run, p_seq, r.start, r."end", r.text,
                r.avg_logprob, r.no_speech_prob, r.compression_ratio, r.words
            from jsonb_to_recordset(p_segments) as r (
                file_id uuid, index integer, start double precision, "end" double precision, text text,
                avg_logprob double precision, no_speech_prob double precision, compression_ratio double precision,
                words jsonb
            )
            join public.smelt_files as f on f.id = r.file_id and f.smelt_id = p_smelt.id
            on conflict (file_id, index) do update
            set run = excluded.run, seq = excluded.seq, start_s = excluded.start_s, end_s = excluded.end_s,
                text = excluded.text, avg_logprob = excluded.avg_logprob, no_speech_prob = excluded.no_speech_prob,
                compression_ratio = excluded.compression_ratio, words = excluded.words
            where (g.start_s, g.end_s, g.text, g.avg_logprob, g.no_speech_prob, g.compression_ratio, g.words)
                is distinct from (
                    excluded.start_s, excluded.end_s, excluded.text, excluded.avg_logprob, excluded.no_speech_prob,
                    excluded.compression_ratio, excluded.words
                )
            -- A row that this statement inserted was not deleted or updated by anybody yet.
            returning xmax = 0 as inserted
        )
        select count(*) > 0, coalesce(bool_or(w.inserted), false) into v_effect from written as w;
        return v_effect;
    end
    $$;

-- Whether this attempt has the smelt: go on, stop because it was cancelled, or stop because it is somebody else's now.
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

-- What a report makes of the stage, the percentage and the message of a smelt. Answers the row as it should be.
create function smelt.advance_smelt(
    p_smelt public.smelts, p_status public.smelt_status, p_percentage numeric, p_message text
) returns public.smelts
    language plpgsql stable
    set search_path = ''
    as $$
    begin
        if p_status in ('completed', 'failed') then
            raise exception 'report_progress does not settle: %', p_status using errcode = '22023';
        end if;
        -- A worker that is still catching up says nothing new: the message stays what the database wrote.
        p_smelt.message := case
            when p_status < p_smelt.status then p_smelt.message
            else coalesce(left(p_message, 200), smelt.stage_message(p_status), p_smelt.message)
        end;
        p_smelt.status := greatest(p_smelt.status, p_status);
        p_smelt.percentage := greatest(
            smelt.stage_floor(p_smelt.status),
            p_smelt.percentage,
            least(round(coalesce(p_percentage, p_smelt.percentage), 1), smelt.stage_ceiling(p_smelt.status))
        );
        return p_smelt;
    end
    $$;

-- The moment that an estimate in seconds means, within a year; null for none.
create function smelt.estimated_end(p_eta_seconds double precision, p_now timestamptz) returns timestamptz
    language sql immutable
    set search_path = ''
    as $$
        select p_now + make_interval(secs => least(greatest(p_eta_seconds, 0), 31536000))
        where p_eta_seconds <> 'NaN'
    $$;

-- Whether a watcher can tell two states of a smelt apart; an estimate that moved by less than a second is the same one.
create function smelt.has_visible_change(p_old public.smelts, p_new public.smelts) returns boolean
    language sql immutable
    set search_path = ''
    as $$
        select (p_new.status, p_new.percentage, p_new.message)
                is distinct from (p_old.status, p_old.percentage, p_old.message)
            or (p_new.estimated_end_at is null) <> (p_old.estimated_end_at is null)
            or coalesce(p_new.estimated_end_at - p_old.estimated_end_at not between '-1 s' and '1 s', false)
    $$;

-- Write a report down. `event` is the progress that is true after the commit, null if a watcher could see no change.
create function smelt.report_smelt_progress(
    p_smelt_id uuid, p_attempt bigint, p_status text, p_percentage double precision, p_message text,
    p_eta_seconds double precision, p_files jsonb, p_segments jsonb, p_lease_s integer
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts;
        v_next public.smelts;
        v_now timestamptz;
        v_verdict text;
        v_files smelt.report_effect;
        v_segments smelt.report_effect;
        v_advanced boolean;
        v_cut boolean;
    begin
        select s.* into v_smelt from public.smelts as s where s.id = p_smelt_id for no key update;
        v_verdict := smelt.verdict_for(p_smelt_id, p_attempt);
        if v_verdict <> 'go_on' then
            return jsonb_build_object('verdict', v_verdict, 'event', null);
        end if;
        v_now := clock_timestamp();
        update smelt.leases as l
        set expires_at = v_now + smelt.lease_length(p_lease_s), waits = l.waits and p_status = 'decoding'
        where l.smelt_id = p_smelt_id;

        v_files := smelt.apply_files(p_smelt_id, p_files);
        v_segments := smelt.apply_segments(v_smelt, v_smelt.seq + 1, p_segments);
        v_cut := smelt.truncate_segments(p_smelt_id, p_files);
        v_advanced := smelt.apply_checkpoints(p_smelt_id, p_files) or v_files.advanced or v_segments.advanced;
        v_next := smelt.advance_smelt(
            v_smelt, p_status::public.smelt_status, nullif(p_percentage, 'NaN')::numeric, p_message
        );
        v_next.estimated_end_at := coalesce(smelt.estimated_end(p_eta_seconds, v_now), v_smelt.estimated_end_at);
        v_next.failure_count := case when v_advanced then 0 else v_smelt.failure_count end;
        if not (smelt.has_visible_change(v_smelt, v_next) or v_files.visible or v_segments.visible or v_cut) then
            update public.smelts as s set failure_count = v_next.failure_count
            where s.id = p_smelt_id and s.failure_count <> v_next.failure_count;
            return '{"verdict": "go_on", "event": null}';
        end if;
        update public.smelts as s
        set seq = s.seq + 1, updated_at = v_now, failure_count = v_next.failure_count,
            status = v_next.status, percentage = v_next.percentage, message = v_next.message,
            estimated_end_at = v_next.estimated_end_at
        where s.id = p_smelt_id
        returning s.* into v_smelt;
        return jsonb_build_object(
            'verdict', 'go_on', 'event', smelt.progress_payload(v_smelt, gen_random_uuid(), v_now)
        );
    end
    $$;

-- Renew the leases that a worker has, note which of them wait, and tell it for each whether to go on. A sign of life of
-- the worker, too.
create function smelt.renew_smelt_leases(p_worker_id text, p_leases jsonb, p_lease_s integer) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    begin
        -- Locked in one order, so that two calls of one worker can't wait for each other.
        with held as materialized (
            select l.smelt_id, coalesce(r.waits, false) as waits
            from jsonb_to_recordset(p_leases) as r (smelt_id uuid, attempt bigint, waits boolean)
            join smelt.leases as l on l.smelt_id = r.smelt_id and l.attempt = r.attempt
            order by l.smelt_id
            for update of l
        )
        update smelt.leases as l
        set expires_at = clock_timestamp() + smelt.lease_length(p_lease_s), waits = h.waits
        from held as h
        where l.smelt_id = h.smelt_id;
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

-- Answer what earlier attempts transcribed of a file.
create function smelt.load_smelt_segments(p_smelt_id uuid, p_file_id uuid) returns jsonb
    language sql stable security definer
    set search_path = ''
    as $$
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'index', g.index, 'start', g.start_s, 'end', g.end_s, 'text', g.text,
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

-- Report how far a smelt is, save what was transcribed, renew the lease. Stage, percentage and progress are high-water
-- marks: a lower one is ignored. Of a file, keys that are absent leave things as they are; `segment_count` says that its
-- transcript ends there.
create function public.report_smelt_progress(
    smelt_id uuid,
    attempt bigint,
    status text default null,
    percentage double precision default null,
    message text default null,
    eta_seconds double precision default null,
    files jsonb default '[]',
    segments jsonb default '[]',
    lease_s integer default 30
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.report_smelt_progress(
            report_smelt_progress.smelt_id, report_smelt_progress.attempt, report_smelt_progress.status, report_smelt_progress.percentage,
            report_smelt_progress.message, report_smelt_progress.eta_seconds, report_smelt_progress.files, report_smelt_progress.segments,
            report_smelt_progress.lease_s
        )
    $$;

-- Renew many leases in one call: `[{smelt_id, attempt, waits}]`. A smelt that waits for its turn at the model counts no
-- failure if its worker dies.
create function public.renew_smelt_leases(worker_id text, leases jsonb, lease_s integer default 30) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.renew_smelt_leases(renew_smelt_leases.worker_id, renew_smelt_leases.leases, renew_smelt_leases.lease_s)
    $$;

-- Read the saved transcript of a file, in order.
create function public.load_smelt_segments(smelt_id uuid, file_id uuid) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.load_smelt_segments(load_smelt_segments.smelt_id, load_smelt_segments.file_id) $$;

revoke all on function
    smelt.advance_file, smelt.apply_files, smelt.apply_checkpoints, smelt.apply_segments, smelt.truncate_segments,
    smelt.verdict_for, smelt.advance_smelt, smelt.estimated_end, smelt.has_visible_change, smelt.report_smelt_progress, smelt.renew_smelt_leases,
    smelt.load_smelt_segments,
    public.report_smelt_progress, public.renew_smelt_leases, public.load_smelt_segments
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.report_smelt_progress, smelt.renew_smelt_leases, smelt.load_smelt_segments,
    public.report_smelt_progress, public.renew_smelt_leases, public.load_smelt_segments
    to service_role;
