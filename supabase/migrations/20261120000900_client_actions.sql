-- The functions of clients for an existing smelt: read, submit, cancel, retry, rename a speaker, delete.

-- Lock a smelt of the caller and return its row. Reject a missing smelt and that of another user in the same way.
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
            perform smelt.raise_rejection('not_found', 'The smelt does not exist, or belongs to another user.');
        end if;
        return v_smelt;
    end
    $$;

-- Read the state of a smelt in one statement, so that its parts belong together.
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
            s, p_after_seq, coalesce(p_segments_after, 0), q.queue_position,
            s.queue_model = any (smelt.live_models()), p_with_words
        ) into v_state
        from public.smelts as s
        left join lateral smelt.queue_positions(array[s.id]) as q on true
        where s.id = p_smelt_id and smelt.is_owner_or_service(s.user_id);
        if not found then
            perform smelt.raise_rejection('not_found', 'The smelt does not exist, or belongs to another user.');
        end if;
        return v_state;
    end
    $$;

-- Read the states of up to 200 smelts in one statement. Smelts that do not exist or belong to another user are listed
-- as missing.
create function smelt.get_smelts(p_smelts jsonb) returns jsonb
    language plpgsql stable security definer
    set search_path = ''
    as $$
    declare
        v_live_models constant text[] := smelt.live_models();
    begin
        if jsonb_typeof(p_smelts) is distinct from 'array' or jsonb_array_length(p_smelts) > 200 then
            perform smelt.raise_rejection(
                'invalid_request', '"smelts" must be a list of at most 200 {id, after_seq, segments_after}.'
            );
        end if;
        return (
            with requested as materialized (
                -- A state is returned once, however often its id is listed.
                select distinct on ((entry ->> 'id')::uuid)
                    (entry ->> 'id')::uuid as id,
                    (entry ->> 'after_seq')::bigint as after_seq,
                    coalesce((entry ->> 'segments_after')::bigint, 0) as segments_after,
                    ordinal
                from jsonb_array_elements(p_smelts) with ordinality as e (entry, ordinal)
                order by (entry ->> 'id')::uuid, ordinal
            ), accessible as materialized (
                select r.*, s
                from requested as r
                join public.smelts as s on s.id = r.id and smelt.is_owner_or_service(s.user_id)
            ), queue as materialized (
                select q.smelt_id, q.queue_position
                from smelt.queue_positions(array(select a.id from accessible as a)) as q
            )
            select jsonb_build_object(
                'smelts', coalesce((
                    select jsonb_agg(
                        smelt.state_since(
                            a.s, a.after_seq, a.segments_after, q.queue_position,
                            (a.s).queue_model = any (v_live_models)
                        )
                        order by a.ordinal
                    )
                    from accessible as a
                    left join queue as q on q.smelt_id = a.id
                ), '[]'),
                'missing', coalesce((
                    select jsonb_agg(r.id order by r.ordinal)
                    from requested as r
                    where not exists (select from accessible as a where a.id = r.id)
                ), '[]')
            )
        );
    end
    $$;

-- Reject uploads that are missing or larger than announced. Record the size and the version of each object, by which a
-- worker detects an object that was replaced after submission.
create function smelt.verify_uploads(p_smelt_id uuid) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_file record;
    begin
        for v_file in
            select
                f.id, f.filename, f.size_bytes, o.id is not null as is_uploaded, o.version,
                (o.metadata ->> 'size')::bigint as uploaded_bytes
            from public.smelt_files as f
            left join storage.objects as o on o.bucket_id = 'smelt-audio' and o.name = f.upload_path
            where f.smelt_id = p_smelt_id and f.input_type = 'audio'
            order by f.position
        loop
            if not v_file.is_uploaded then
                perform smelt.raise_rejection(
                    'missing_upload', format('%s is not uploaded yet; upload it before submitting.', v_file.filename)
                );
            elsif v_file.uploaded_bytes > v_file.size_bytes then
                perform smelt.raise_rejection(
                    'file_too_large',
                    format('%s is larger than announced; create a new smelt with its size.', v_file.filename)
                );
            end if;
            update public.smelt_files as f
            set size_bytes = coalesce(v_file.uploaded_bytes, f.size_bytes), object_version = v_file.version
            where f.id = v_file.id;
        end loop;
    end
    $$;

-- Make a smelt claimable once its audio is uploaded. A submitted or terminal smelt stays as it is.
create function smelt.submit_smelt(p_smelt_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts := smelt.lock_smelt_of_caller(p_smelt_id);
    begin
        if v_smelt.submitted_at is null and not smelt.is_terminal(v_smelt.status) then
            if v_smelt.audio_state not in ('none', 'expected') then
                perform smelt.raise_rejection(
                    'audio_expired', 'The smelt was not submitted in time and its audio is removed; create a new smelt.'
                );
            end if;
            perform smelt.verify_uploads(p_smelt_id);
            update public.smelts as s
            set submitted_at = clock_timestamp(), claimable_at = clock_timestamp(), updated_at = clock_timestamp(),
                queue_rank = smelt.next_rank(s.queue_owner, s.queue_model),
                audio_state = case s.audio_state when 'expected' then 'stored' else s.audio_state end,
                seq = s.seq + 1
            where s.id = p_smelt_id
            returning s.* into v_smelt;
            perform smelt.broadcast_progress(v_smelt);
        end if;
        return smelt.state_now(p_smelt_id);
    end
    $$;

-- End a smelt at once, as failed with `cancelled`. A terminal smelt stays as it is. The audio of a smelt that was not
-- submitted is removed: it cannot be retried.
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

-- Reset the files of a smelt for its next run. Transcripts and checkpoints stay; segments get the new run and `seq`.
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

-- Reject a retry that needs audio which is removed, or was never submitted, and one beyond the limit of open smelts.
create function smelt.check_retry(p_smelt public.smelts) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_client_hash text;
    begin
        if p_smelt.audio_state in ('removing', 'removed') and exists (
            select from public.smelt_files as f
            where f.smelt_id = p_smelt.id and f.input_type = 'audio' and not f.transcribed
        ) then
            perform smelt.raise_rejection('audio_expired', 'The audio is removed; create a new smelt.');
        end if;
        v_client_hash := smelt.reserve_open_slot(
            p_smelt.user_id, p_smelt.is_anonymous, (smelt.current_caller()).is_service
        );
        update smelt.requests as r
        set client_hash = v_client_hash
        where r.smelt_id = p_smelt.id and v_client_hash is not null;
    end
    $$;

-- Start the next run of a failed or partial smelt. Any other smelt stays as it is.
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
                started_at = null, completed_at = null, audio_kept_until = null, updated_at = v_now,
                claimable_at = case when s.submitted_at is not null then v_now end,
                queue_rank = case when s.submitted_at is not null then smelt.next_rank(s.queue_owner, s.queue_model) end
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
                perform smelt.update_batch_progress(v_smelt.batch_id, v_smelt, true);
            end if;
        end if;
        return smelt.state_now(p_smelt_id);
    end
    $$;

-- Return the name of a speaker without the spaces around it; reject one that is not a short text on one line.
create function smelt.check_speaker_name(p_name text) returns text
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_name constant text := smelt.trimmed(coalesce(p_name, ''));
    begin
        if char_length(v_name) not between 1 and 100 then
            perform smelt.raise_rejection('invalid_request', 'A speaker needs a "name" of 1 to 100 characters.');
        -- Separators of lines, and characters that change the direction of the text around them.
        elsif smelt.has_control_characters(v_name) or v_name ~ '[\u2028-\u202E\u2066-\u2069]' then
            perform smelt.raise_rejection(
                'invalid_request', 'The "name" of a speaker must not contain control characters.'
            );
        end if;
        return v_name;
    end
    $$;

-- Name a speaker in the finished transcripts of a smelt, or of one file; the label itself removes the name. The
-- segments and results are stored with the label, and are returned with the name. The segments get a new `seq`.
create function smelt.rename_smelt_speaker(p_smelt_id uuid, p_speaker text, p_name text, p_file_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts := smelt.lock_smelt_of_caller(p_smelt_id);
        v_name constant text := smelt.check_speaker_name(p_name);
        v_files constant uuid[] := array(
            select f.id
            from public.smelt_files as f
            where f.smelt_id = p_smelt_id and f.id = coalesce(p_file_id, f.id) and f.transcribed and exists (
                select from public.smelt_segments as g where g.file_id = f.id and g.speaker = p_speaker
            )
        );
    begin
        if cardinality(v_files) = 0 then
            perform smelt.raise_rejection('speaker_not_found', format(
                'No finished transcript has a speaker with the label "%s".', left(p_speaker, 100)
            ));
        end if;
        update public.smelt_files as f
        set speaker_names = f.speaker_names - p_speaker || case
            when v_name = p_speaker then '{}' else jsonb_build_object(p_speaker, v_name)
        end
        where f.id = any (v_files) and coalesce(f.speaker_names ->> p_speaker, p_speaker) <> v_name;
        if found then
            update public.smelts as s
            set seq = s.seq + 1, updated_at = clock_timestamp()
            where s.id = p_smelt_id
            returning s.* into v_smelt;
            update public.smelt_segments as g
            set seq = v_smelt.seq
            where g.file_id = any (v_files) and g.speaker = p_speaker;
            if not smelt.is_terminal(v_smelt.status) then
                perform smelt.broadcast_progress(v_smelt);
            end if;
        end if;
        return smelt.state_now(p_smelt_id);
    end
    $$;

-- Delete a locked smelt with every row that belongs to it; the next sweep finds its objects in Storage. Raise
-- `foreign_key_violation` or `restrict_violation` at once if a row of the app references it.
create function smelt.delete_smelt_row(p_smelt public.smelts) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_no_smelt public.smelts;
    begin
        -- A deferred constraint would fail at the commit, where the error cannot be caught.
        set constraints all immediate;
        delete from public.smelts as s where s.id = p_smelt.id;
        if p_smelt.batch_id is not null then
            perform smelt.update_batch_progress(p_smelt.batch_id, v_no_smelt, true);
        end if;
    end
    $$;

-- Cancel an open smelt, for its watchers, then delete it. If a foreign key of the app without `on delete` references
-- it, reject the call and change nothing.
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
            perform smelt.settle_smelt(p_smelt_id, 'cancelled', true, p_notify => false);
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

-- Return the state of a smelt with the segments saved after `segments_after`; or, if it has not changed since
-- `after_seq`, only that. Words are included on request: they are several times as large as the text.
create function public.get_smelt(
    smelt_id uuid, after_seq bigint default null, segments_after bigint default null, with_words boolean default false
) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$
        select smelt.get_smelt(get_smelt.smelt_id, get_smelt.after_seq, get_smelt.segments_after, get_smelt.with_words)
    $$;

-- Return the states of up to 200 smelts, each as `get_smelt` returns it without words, and the ids that are missing.
create function public.get_smelts(smelts jsonb) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$ select smelt.get_smelts(get_smelts.smelts) $$;

-- Submit a smelt to the workers, once every announced file is uploaded.
create function public.submit_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.submit_smelt(submit_smelt.smelt_id) $$;

-- Cancel a smelt: it ends as failed with `cancelled`, and its worker stops. One that was not submitted loses its audio
-- and cannot be retried.
create function public.cancel_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.cancel_smelt(cancel_smelt.smelt_id) $$;

-- Run a failed or partial smelt again; finished transcripts are kept. It is rejected with `audio_expired` if it needs
-- audio that is removed.
create function public.retry_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.retry_smelt(retry_smelt.smelt_id) $$;

-- Name a speaker: `speaker` is the label in the segments, such as `Speaker 1`, also if it has a name already; the label
-- as `name` removes the name. Without `file_id`, in all files. It is rejected with `speaker_not_found` if no finished
-- transcript has that speaker.
create function public.rename_smelt_speaker(
    smelt_id uuid, speaker text, name text, file_id uuid default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.rename_smelt_speaker(
            rename_smelt_speaker.smelt_id, rename_smelt_speaker.speaker, rename_smelt_speaker.name,
            rename_smelt_speaker.file_id
        )
    $$;

-- Delete a smelt with its transcripts, results and notifications; a worker removes its audio with the next sweep.
create function public.delete_smelt(smelt_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.delete_smelt(delete_smelt.smelt_id) $$;

revoke all on function
    smelt.lock_smelt_of_caller, smelt.get_smelt, smelt.get_smelts, smelt.verify_uploads, smelt.submit_smelt,
    smelt.cancel_smelt, smelt.reset_files, smelt.check_retry, smelt.retry_smelt, smelt.check_speaker_name,
    smelt.rename_smelt_speaker, smelt.delete_smelt_row, smelt.delete_smelt, public.get_smelt, public.get_smelts,
    public.submit_smelt, public.cancel_smelt, public.retry_smelt, public.rename_smelt_speaker, public.delete_smelt
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.get_smelt, smelt.get_smelts, smelt.submit_smelt, smelt.cancel_smelt, smelt.retry_smelt,
    smelt.rename_smelt_speaker, smelt.delete_smelt, public.get_smelt, public.get_smelts, public.submit_smelt,
    public.cancel_smelt, public.retry_smelt, public.rename_smelt_speaker, public.delete_smelt
    to anon, authenticated, service_role;
