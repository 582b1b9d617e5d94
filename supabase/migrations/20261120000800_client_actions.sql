-- What a client does with a smelt that exists: read, submit, cancel, retry, delete.

-- Lock a smelt of the caller's and answer its row; refuses what does not exist or is somebody else's.
create function smelt.lock_smelt_of_caller(p_smelt_id uuid) returns public.smelts
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts;
    begin
        select s.* into v_smelt
        from public.smelts as s
        where s.id = p_smelt_id and smelt.is_owner_or_service(s.user_id)
        for update;
        if not found then
            perform smelt.raise_rejection('not_found', 'There is no such smelt.');
        end if;
        return v_smelt;
    end
    $$;

-- The state of one smelt, read in one snapshot of the database.
create function smelt.get_smelt(
    p_smelt_id uuid, p_after_seq bigint, p_segments_after bigint, p_with_words boolean
) returns jsonb
    language plpgsql stable security definer
    set search_path = ''
    as $$
    declare
        v_state jsonb;
    begin
        select smelt.state_since(
            s, p_after_seq, coalesce(p_segments_after, 0), q.place, smelt.is_worker_online(), p_with_words
        ) into v_state
        from public.smelts as s
        left join lateral smelt.queue_positions(array[s.id]) as q on true
        where s.id = p_smelt_id and smelt.is_owner_or_service(s.user_id);
        if not found then
            perform smelt.raise_rejection('not_found', 'There is no such smelt.');
        end if;
        return v_state;
    end
    $$;

-- The states of many smelts, read in one snapshot of the database; those that can't be seen are listed as missing.
create function smelt.get_smelts(p_smelts jsonb) returns jsonb
    language plpgsql stable security definer
    set search_path = ''
    as $$
    declare
        v_worker_online constant boolean := smelt.is_worker_online();
    begin
        if jsonb_typeof(p_smelts) is distinct from 'array' or jsonb_array_length(p_smelts) > 200 then
            perform smelt.raise_rejection(
                'invalid_request', '"smelts" wants a list of at most 200 {id, after_seq, segments_after}.'
            );
        end if;
        return (
            with asked as materialized (
                select
                    (entry ->> 'id')::uuid as id,
                    (entry ->> 'after_seq')::bigint as after_seq,
                    coalesce((entry ->> 'segments_after')::bigint, 0) as segments_after,
                    place
                from jsonb_array_elements(p_smelts) with ordinality as e (entry, place)
            ), found as materialized (
                select a.*, s
                from asked as a
                join public.smelts as s on s.id = a.id and smelt.is_owner_or_service(s.user_id)
            ), queue as materialized (
                select q.smelt_id, q.place
                from smelt.queue_positions(array(select f.id from found as f)) as q
            )
            select jsonb_build_object(
                'smelts', coalesce((
                    select jsonb_agg(
                        smelt.state_since(f.s, f.after_seq, f.segments_after, q.place, v_worker_online)
                        order by f.place
                    )
                    from found as f
                    left join queue as q on q.smelt_id = f.id
                ), '[]'),
                'missing', coalesce((
                    select jsonb_agg(a.id order by a.place)
                    from asked as a
                    where not exists (select from found as f where f.id = a.id)
                ), '[]')
            )
        );
    end
    $$;

-- Refuse uploads that are missing or larger than announced; record what is there with its version, so that a worker can
-- tell whether it was exchanged later.
create function smelt.verify_uploads(p_smelt_id uuid) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_file record;
    begin
        for v_file in
            select
                f.id, f.filename, f.size_bytes, o.id is not null as is_there, o.version,
                (o.metadata ->> 'size')::bigint as found_bytes
            from public.smelt_files as f
            left join storage.objects as o on o.bucket_id = 'smelt-audio' and o.name = f.upload_path
            where f.smelt_id = p_smelt_id and f.input_type = 'audio'
            order by f.position
        loop
            if not v_file.is_there then
                perform smelt.raise_rejection('missing_upload', format('%s is not uploaded yet.', v_file.filename));
            elsif v_file.found_bytes > v_file.size_bytes then
                perform smelt.raise_rejection('file_too_large', format('%s is larger than announced.', v_file.filename));
            end if;
            update public.smelt_files as f
            set size_bytes = coalesce(v_file.found_bytes, f.size_bytes), object_version = v_file.version
            where f.id = v_file.id;
        end loop;
    end
    $$;

-- Make a smelt claimable once its audio is there; one that was submitted before stays as it is.
create function smelt.submit_smelt(p_smelt_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts := smelt.lock_smelt_of_caller(p_smelt_id);
    begin
        if v_smelt.submitted_at is null and not smelt.is_terminal(v_smelt.status) then
            if v_smelt.audio_state <> 'expected' then
                perform smelt.raise_rejection('audio_expired', 'The uploads have expired; create a new smelt.');
            end if;
            perform smelt.verify_uploads(p_smelt_id);
            update public.smelts as s
            set submitted_at = clock_timestamp(), claimable_at = clock_timestamp(), updated_at = clock_timestamp(),
                audio_state = 'stored', seq = s.seq + 1
            where s.id = p_smelt_id
            returning s.* into v_smelt;
            perform smelt.broadcast_progress(v_smelt);
            perform smelt.wake_workers();
        end if;
        return smelt.state_now(p_smelt_id);
    end
    $$;

-- End a smelt as failed with `cancelled`, at once; one that has ended stays as it is.
create function smelt.cancel_smelt(p_smelt_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt constant public.smelts := smelt.lock_smelt_of_caller(p_smelt_id);
    begin
        if not smelt.is_terminal(v_smelt.status) then
            perform smelt.settle_smelt(p_smelt_id, 'cancelled', true);
        end if;
        return smelt.state_now(p_smelt_id);
    end
    $$;

-- Take the files of a smelt back to the start of a new run. What is transcribed stays so, and segments move along under
-- the new `seq`; work after a checkpoint goes on from there.
create function smelt.reset_files(p_smelt public.smelts) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        update public.smelt_files as f
        set status = 'pending', stage = 'pending', progress = 0, error_code = null, error_message = null
        where f.smelt_id = p_smelt.id;
        update public.smelt_segments as g set run = p_smelt.run, seq = p_smelt.seq where g.smelt_id = p_smelt.id;
    end
    $$;

-- Refuse a retry that would need audio which is gone, or that would be one open smelt too many.
create function smelt.check_retry(p_smelt public.smelts) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_client text;
    begin
        if p_smelt.audio_state in ('removing', 'removed') and exists (
            select from public.smelt_files as f
            where f.smelt_id = p_smelt.id and f.input_type = 'audio' and not f.transcribed
        ) then
            perform smelt.raise_rejection('audio_expired', 'The audio has been removed; create a new smelt.');
        end if;
        v_client := smelt.reserve_open_slot(p_smelt.user_id, p_smelt.is_anonymous);
        update smelt.requests as r set client = v_client where r.smelt_id = p_smelt.id and v_client is not null;
    end
    $$;

-- Start the next run of a smelt that failed, or that completed in part; any other stays as it is.
create function smelt.retry_smelt(p_smelt_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_smelt public.smelts := smelt.lock_smelt_of_caller(p_smelt_id);
    begin
        if v_smelt.status = 'failed' or v_smelt.outcome = 'partial' then
            perform smelt.check_retry(v_smelt);
            update public.smelts as s
            set run = s.run + 1, attempt = s.attempt + 1, seq = s.seq + 1, failure_count = 0,
                status = 'pending', percentage = 0, message = smelt.stage_message('pending'),
                outcome = null, error_code = null, error_message = null,
                started_at = null, completed_at = null, updated_at = v_now,
                claimable_at = case when s.submitted_at is not null then v_now end
            where s.id = p_smelt_id
            returning s.* into v_smelt;
            perform smelt.reset_files(v_smelt);
            delete from smelt.outbox
            where id in (
                select o.id from smelt.outbox as o
                where o.smelt_id = p_smelt_id and o.run < v_smelt.run
                for update skip locked
            );
            perform smelt.broadcast_progress(v_smelt);
            if v_smelt.batch_id is not null then
                perform smelt.update_batch_counts(v_smelt.batch_id, v_smelt, true);
            end if;
            perform smelt.wake_workers();
        end if;
        return smelt.state_now(p_smelt_id);
    end
    $$;

-- Delete a smelt whose row is locked, with all that belongs to it; what is left in Storage is found by the next sweep.
-- Raises `foreign_key_violation` or `restrict_violation` at once where a row of the app still references it.
create function smelt.delete_smelt_row(p_smelt public.smelts) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_nobody public.smelts;
    begin
        -- A deferred constraint would fail at the commit, where nobody can catch it.
        set constraints all immediate;
        delete from public.smelts as s where s.id = p_smelt.id;
        if p_smelt.batch_id is not null then
            perform smelt.update_batch_counts(p_smelt.batch_id, v_nobody, true);
        end if;
    end
    $$;

-- Delete a smelt and everything that belongs to it. Who watches it while it is open sees it cancelled first. Refused
-- while a foreign key of the app without `on delete` references it; then nothing has changed.
create function smelt.delete_smelt(p_smelt_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt constant public.smelts := smelt.lock_smelt_of_caller(p_smelt_id);
        v_schema text;
        v_table text;
        v_constraint text;
    begin
        if not smelt.is_terminal(v_smelt.status) then
            perform smelt.settle_smelt(p_smelt_id, 'cancelled', true);
        end if;
        perform smelt.delete_smelt_row(v_smelt);
        return '{"deleted": true}';
    exception when foreign_key_violation or restrict_violation then
        get stacked diagnostics
            v_schema = schema_name, v_table = table_name, v_constraint = constraint_name;
        perform smelt.raise_rejection('still_referenced', format(
            'The table %I.%I still references this smelt: its foreign key %I needs "on delete set null" or '
            '"on delete cascade".',
            v_schema, v_table, v_constraint
        ));
    end
    $$;

-- Read the whole state of a smelt, with the segments written after `segments_after`; or only that nothing has changed
-- since `after_seq`. Words are several times what they make up, so that they come only to those who ask.
create function public.get_smelt(
    smelt_id uuid, after_seq bigint default null, segments_after bigint default null, with_words boolean default false
) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$
        select smelt.get_smelt(get_smelt.smelt_id, get_smelt.after_seq, get_smelt.segments_after, get_smelt.with_words)
    $$;

-- Read the states of many smelts at once, each as `get_smelt` would answer it without words.
create function public.get_smelts(smelts jsonb) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.get_smelts(get_smelts.smelts) $$;

-- Hand a smelt to the workers once every announced file is uploaded.
create function public.submit_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.submit_smelt(submit_smelt.smelt_id) $$;

-- Cancel a smelt: it ends as failed with `cancelled`, and whoever works on it stops.
create function public.cancel_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.cancel_smelt(cancel_smelt.smelt_id) $$;

-- Start a smelt again that failed or completed in part; finished transcripts are kept.
create function public.retry_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.retry_smelt(retry_smelt.smelt_id) $$;

-- Delete a smelt with its transcripts, results and notifications; its audio follows with the next sweep of a worker.
create function public.delete_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.delete_smelt(delete_smelt.smelt_id) $$;

revoke all on function
    smelt.lock_smelt_of_caller, smelt.get_smelt, smelt.get_smelts, smelt.verify_uploads, smelt.submit_smelt, smelt.cancel_smelt,
    smelt.reset_files, smelt.check_retry, smelt.retry_smelt, smelt.delete_smelt_row, smelt.delete_smelt,
    public.get_smelt, public.get_smelts, public.submit_smelt, public.cancel_smelt, public.retry_smelt,
    public.delete_smelt
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.get_smelt, smelt.get_smelts, smelt.submit_smelt, smelt.cancel_smelt, smelt.retry_smelt, smelt.delete_smelt,
    public.get_smelt, public.get_smelts, public.submit_smelt, public.cancel_smelt, public.retry_smelt,
    public.delete_smelt
    to anon, authenticated, service_role;
