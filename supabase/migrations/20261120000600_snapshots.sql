-- States of smelts as JSON, and the payloads of events. Nothing in this file changes a row.

-- Return the private channel of a smelt.
create function smelt.topic_of(p_smelt_id uuid) returns text
    language sql immutable
    set search_path = ''
    as $$ select 'smelt:' || p_smelt_id $$;

-- Return the seconds from `p_now` until `p_moment`, to a tenth, at least 0; null if the moment is null.
create function smelt.seconds_until(p_moment timestamptz, p_now timestamptz) returns numeric
    language sql immutable strict
    set search_path = ''
    as $$ select case when p_moment is not null then round(greatest(extract(epoch from p_moment - p_now), 0), 1) end $$;

-- Return after how many seconds a client without a channel should read the state again; null for a terminal smelt.
create function smelt.next_poll_s(p_smelt public.smelts) returns numeric
    language sql stable
    set search_path = ''
    as $$
        select case
            when smelt.is_terminal(p_smelt.status) then null
            when p_smelt.submitted_at is null then 10
            when p_smelt.claimable_at is not null then 5
            else 2
        end::numeric
    $$;

-- Return percentage, stage and message.
create function smelt.progress_of(p_smelt public.smelts) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'percentage', p_smelt.percentage, 'stage', p_smelt.status, 'message', p_smelt.message
        )
    $$;

-- Return percentage, stage and message as a client reads them. The message of a smelt in the queue names a model that no
-- live worker has: this changes without a change of the smelt.
create function smelt.read_progress_of(p_smelt public.smelts, p_worker_online boolean) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select smelt.progress_of(p_smelt) || case
            when p_smelt.claimable_at is not null and p_smelt.queue_model <> '' and not p_worker_online then
                jsonb_build_object('message', format('No worker has the model %s.', p_smelt.queue_model))
            else '{}'
        end
    $$;

-- Return a text for Markdown on one line, in which none of its characters is markup.
create function smelt.as_markdown(p_text text) returns text
    language sql immutable
    set search_path = ''
    as $$
        select regexp_replace(
            regexp_replace(p_text, '([\\*_`\[<~|]|&(?=#?\w+;))', '\\\1', 'g'),
            '^(\d*)([#>+=-]|(?<=\d)[.)])', '\1\\\2'
        )
    $$;

-- Return a Markdown text with the names of speakers instead of their labels. Only labels of smelt itself, such as
-- `Speaker 1`, are replaced: that of an external service may be any word.
create function smelt.with_speaker_names(p_text text, p_names jsonb) returns text
    language plpgsql immutable
    set search_path = ''
    as $$
    declare
        -- Names have no control characters: a label in this mark is none that a name has introduced.
        v_mark constant text := chr(1);
        v_label text;
        v_name text;
    begin
        if p_names = '{}' then
            return p_text;
        end if;
        p_text := regexp_replace(p_text, '\m(Speaker \d+)\M', v_mark || '\1' || v_mark, 'g');
        for v_label, v_name in select n.key, n.value from jsonb_each_text(p_names) as n loop
            p_text := replace(p_text, v_mark || v_label || v_mark, smelt.as_markdown(v_name));
        end loop;
        return regexp_replace(p_text, v_mark || '(Speaker \d+)' || v_mark, '\1', 'g');
    end
    $$;

-- Return the names of speakers that hold for all files of a smelt: those that each file with the label has.
create function smelt.common_speaker_names(p_smelt_id uuid) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select coalesce(jsonb_object_agg(n.label, n.name), '{}')
        from (
            select e.key as label, min(e.value) as name
            from public.smelt_files as f
            cross join jsonb_each_text(f.speaker_names) as e
            where f.smelt_id = p_smelt_id
            group by e.key
            having count(distinct e.value) = 1
        ) as n
        where not exists (
            select
            from public.smelt_files as f
            join public.smelt_segments as g on g.file_id = f.id and g.speaker = n.label
            where f.smelt_id = p_smelt_id and f.transcribed and not f.speaker_names ? n.label
        )
    $$;

-- Return the results of the run with the names of speakers; null unless it is completed.
create function smelt.results_of(p_smelt public.smelts) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'file_id', r.file_id, 'filename', r.filename, 'content', smelt.with_speaker_names(
                        r.content, coalesce(f.speaker_names, smelt.common_speaker_names(p_smelt.id))
                    )
                )
                order by r.position
            ),
            '[]'
        )
        from public.smelt_results as r
        left join public.smelt_files as f on f.id = r.file_id
        where r.smelt_id = p_smelt.id and r.run = p_smelt.run
        having p_smelt.status = 'completed'
    $$;

-- Return the files of a smelt as clients see them.
create function smelt.files_of(p_smelt_id uuid) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', f.id, 'filename', f.filename, 'position', f.position, 'input_type', f.input_type,
                    'size_bytes', f.size_bytes, 'duration_seconds', f.duration_seconds, 'language', f.language,
                    'language_probability', f.language_probability, 'speaker_names', f.speaker_names, 'trust', f.trust,
                    'status', f.status, 'stage', f.stage, 'progress', f.progress,
                    'error_code', f.error_code, 'error_message', f.error_message
                )
                order by f.position
            ),
            '[]'
        )
        from public.smelt_files as f
        where f.smelt_id = p_smelt_id
    $$;

-- Return the segments of a smelt that were saved after a `seq`, in the order of the transcript; on request with their
-- words. Speakers have their names; speakers and words are left out where they are unknown.
create function smelt.segments_of(p_smelt_id uuid, p_after bigint, p_with_words boolean) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'file_id', g.file_id, 'index', g.index, 'start', g.start_s, 'end', g.end_s, 'text', g.text
                )
                || case
                    when g.speaker is null then '{}'
                    else jsonb_build_object('speaker', coalesce(f.speaker_names ->> g.speaker, g.speaker))
                end
                || case
                    when p_with_words and g.words is not null then jsonb_build_object('words', g.words) else '{}'
                end
                order by f.position, g.index
            ),
            '[]'
        )
        from public.smelt_segments as g
        join public.smelt_files as f on f.id = g.file_id
        where g.smelt_id = p_smelt_id and g.seq > p_after
    $$;

-- Return the outputs of a smelt that has not ended, complete ones and the one that is being written.
create function smelt.outputs_of(p_smelt_id uuid) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'file_id', o.file_id, 'position', o.position, 'title', o.title, 'content', o.content,
                    'is_complete', o.is_complete
                )
                order by f.position, o.position
            ),
            '[]'
        )
        from public.smelt_files as f
        join smelt.outputs as o on o.file_id = f.id
        where f.smelt_id = p_smelt_id
    $$;

-- Return the whole state of a smelt; without segments if `p_segments_after` is null.
create function smelt.snapshot(
    p_smelt public.smelts, p_segments_after bigint, p_queue_position bigint, p_worker_online boolean,
    p_with_words boolean default false
) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'id', p_smelt.id, 'seq', p_smelt.seq, 'run', p_smelt.run, 'attempt', p_smelt.attempt,
            'status', p_smelt.status, 'mode', p_smelt.mode,
            'progress', smelt.read_progress_of(p_smelt, p_worker_online),
            'eta_seconds', smelt.seconds_until(p_smelt.estimated_end_at, now()),
            'queue_position', p_queue_position, 'worker_online', p_worker_online,
            'files', smelt.files_of(p_smelt.id),
            'segments', smelt.segments_of(p_smelt.id, p_segments_after, p_with_words),
            'segments_seq', case when p_segments_after is null then 0 else p_smelt.seq end,
            'outputs', smelt.outputs_of(p_smelt.id),
            'outcome', p_smelt.outcome, 'results', smelt.results_of(p_smelt),
            'error_code', p_smelt.error_code, 'error_message', p_smelt.error_message,
            'default_prompt_names', p_smelt.default_prompt_names, 'user_prompt_id', p_smelt.user_prompt_id,
            'batch_id', p_smelt.batch_id, 'options', p_smelt.options, 'metadata', p_smelt.metadata,
            'created_at', p_smelt.created_at, 'submitted_at', p_smelt.submitted_at,
            'started_at', p_smelt.started_at, 'completed_at', p_smelt.completed_at,
            'subscription_channel', smelt.topic_of(p_smelt.id), 'next_poll_s', smelt.next_poll_s(p_smelt)
        )
    $$;

-- Return the snapshot of a smelt; or, if it has not changed since `p_after_seq`, only that. `worker_online` and, in the
-- queue, position and message are always included: they change without a change of the smelt.
create function smelt.state_since(
    p_smelt public.smelts, p_after_seq bigint, p_segments_after bigint, p_queue_position bigint,
    p_worker_online boolean, p_with_words boolean default false
) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select case
            when p_after_seq >= p_smelt.seq then
                jsonb_build_object(
                    'id', p_smelt.id, 'seq', p_smelt.seq, 'next_poll_s', smelt.next_poll_s(p_smelt),
                    'worker_online', p_worker_online
                )
                || case
                    when p_queue_position is null then '{}'
                    else jsonb_build_object(
                        'queue_position', p_queue_position,
                        'message', smelt.read_progress_of(p_smelt, p_worker_online) -> 'message'
                    )
                end
            else smelt.snapshot(p_smelt, p_segments_after, p_queue_position, p_worker_online, p_with_words)
        end
    $$;

-- Return the snapshot of a smelt without segments, as the response to a call that changed it.
create function smelt.state_now(p_smelt_id uuid) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select smelt.snapshot(
            s, null, (select q.queue_position from smelt.queue_positions(array[s.id]) as q),
            s.queue_model = any (smelt.live_models())
        )
        from public.smelts as s
        where s.id = p_smelt_id
    $$;

-- Return the fields that every event of a smelt has.
create function smelt.envelope(p_smelt public.smelts, p_event_id uuid, p_now timestamptz) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'smelt_id', p_smelt.id, 'event_id', p_event_id, 'seq', p_smelt.seq, 'run', p_smelt.run,
            'attempt', p_smelt.attempt, 'eta_seconds', smelt.seconds_until(p_smelt.estimated_end_at, p_now),
            'emitted_at', p_now
        )
    $$;

-- Return the payload of `progress`: the whole state of an open smelt.
create function smelt.progress_payload(p_smelt public.smelts, p_event_id uuid, p_now timestamptz) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select smelt.envelope(p_smelt, p_event_id, p_now) || jsonb_build_object(
            'status', p_smelt.status,
            'progress', smelt.progress_of(p_smelt),
            'files', (
                select coalesce(
                    jsonb_agg(
                        jsonb_build_object(
                            'id', f.id, 'status', f.status, 'progress', f.progress,
                            'untranscribed_seconds', coalesce((f.trust ->> 'untranscribed_seconds')::numeric, 0)
                        )
                        order by f.position
                    ),
                    '[]'
                )
                from public.smelt_files as f
                where f.smelt_id = p_smelt.id
            ),
            'segments', '[]'::jsonb, 'outputs', '[]'::jsonb
        )
    $$;

-- Return the payload of `completed`; without the results if it would be larger than 200 KiB, since Realtime limits the
-- size of a broadcast.
create function smelt.completed_payload(p_smelt public.smelts, p_event_id uuid, p_now timestamptz) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        with event as (
            select smelt.envelope(p_smelt, p_event_id, p_now) || jsonb_build_object(
                'status', p_smelt.status, 'outcome', p_smelt.outcome, 'results', smelt.results_of(p_smelt),
                'results_truncated', false, 'completed_at', p_smelt.completed_at
            ) as payload
        )
        select case
            when octet_length(payload::text) <= 200 * 1024 then payload
            else payload || '{"results": [], "results_truncated": true}'
        end
        from event
    $$;

-- Return the payload of `failed`.
create function smelt.failed_payload(p_smelt public.smelts, p_event_id uuid, p_now timestamptz) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select smelt.envelope(p_smelt, p_event_id, p_now) || jsonb_build_object(
            'status', p_smelt.status, 'error_code', p_smelt.error_code, 'error_message', p_smelt.error_message,
            'completed_at', p_smelt.completed_at
        )
    $$;

-- Return a batch as clients see it.
create function smelt.batch_state(p_batch public.smelt_batches) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'id', p_batch.id, 'title', p_batch.title, 'seq', p_batch.seq, 'total', p_batch.total,
            'completed', p_batch.completed, 'failed', p_batch.failed, 'progress', p_batch.progress,
            'status', p_batch.status, 'created_at', p_batch.created_at,
            'subscription_channel', 'smelt-batch:' || p_batch.id
        )
    $$;

revoke all on function
    smelt.topic_of, smelt.seconds_until, smelt.next_poll_s, smelt.progress_of, smelt.read_progress_of,
    smelt.as_markdown, smelt.with_speaker_names, smelt.common_speaker_names, smelt.results_of, smelt.files_of,
    smelt.segments_of, smelt.outputs_of, smelt.snapshot, smelt.state_since, smelt.state_now, smelt.envelope,
    smelt.progress_payload, smelt.completed_payload, smelt.failed_payload, smelt.batch_state
    from public, anon, authenticated, service_role;
