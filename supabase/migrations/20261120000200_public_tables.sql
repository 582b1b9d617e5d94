-- The tables that a project's users read: smelts, files, segments, results, batches, prompts, notifications.
--
-- Statuses and other words are text with a check, not enums: a new value is one migration that replaces the check.

-- Smelts of one user that are watched together, with their counts.
create table public.smelt_batches (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users (id) on delete cascade,
    title text,
    seq bigint not null default 1,
    total integer not null default 0,
    completed integer not null default 0,
    failed integer not null default 0,
    progress numeric(4, 1) not null default 0,
    status text not null default 'pending',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint smelt_batches_title_length check (char_length(title) <= 200),
    constraint smelt_batches_counts check (completed >= 0 and failed >= 0 and completed + failed <= total),
    constraint smelt_batches_progress_range check (progress between 0 and 100),
    constraint smelt_batches_status_known check (status in ('pending', 'processing', 'completed', 'failed'))
);
create index smelt_batches_user_id_idx on public.smelt_batches (user_id, created_at desc);

-- Prompts that users wrote themselves.
create table public.smelt_prompts (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    name text not null,
    content text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint smelt_prompts_name_length check (char_length(name) between 1 and 200),
    constraint smelt_prompts_content_not_blank check (content ~ '\S')
);
create index smelt_prompts_user_id_idx on public.smelt_prompts (user_id);

-- Return the owner that takes turns with others in the queue: the user; all visitors and anonymous sign-ins are one.
create function smelt.queue_owner(p_user_id uuid, p_is_anonymous boolean) returns uuid
    language sql immutable
    set search_path = ''
    as $$
        select case
            when p_user_id is null or p_is_anonymous then '00000000-0000-0000-0000-000000000000'::uuid
            else p_user_id
        end
    $$;
revoke all on function smelt.queue_owner from public, anon, authenticated, service_role;

-- One row for each smelt. From `claimable_at` on a worker may claim it; null before it is submitted, while a worker
-- holds it, and after its end. Due smelts are claimed in the order of `queue_rank`; each new rank of an owner is above
-- all others of that owner. It is null for a suspect, and for a smelt that waits for a delay until a claim ranks it.
-- `queue_owner` takes turns with the others: a user, or all visitors and anonymous sign-ins as one. `queue_model` is
-- the model that only some workers have; '' for a smelt that any worker can process. `options` has no option with its
-- default value. `status` and `percentage` never decrease within a run.
create table public.smelts (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references auth.users (id) on delete cascade,
    is_anonymous boolean not null default false,
    batch_id uuid references public.smelt_batches (id) on delete set null,
    mode text not null default 'separate',
    default_prompt_names text[] not null default '{}',
    user_prompt_id uuid references public.smelt_prompts (id) on delete set null,
    options jsonb not null default '{}',
    metadata jsonb not null default '{}',
    seq bigint not null default 1,
    run integer not null default 1,
    attempt bigint not null default 0,
    failure_count integer not null default 0,
    status text not null default 'pending',
    percentage numeric(4, 1) not null default 0,
    message text not null default 'Waiting to process...',
    estimated_end_at timestamptz,
    outcome text,
    error_code text,
    error_message text,
    -- `none` for a text, `expected` before submission, `stored`, `removing` once it is to be purged, `removed`.
    audio_state text not null,
    -- Until when the audio is kept after the end, if the option `keep_audio_h` requests it.
    audio_kept_until timestamptz,
    claimable_at timestamptz,
    queue_rank bigint,
    queue_owner uuid not null generated always as (smelt.queue_owner(user_id, is_anonymous)) stored,
    queue_model text not null generated always as (coalesce(options ->> 'model', '')) stored,
    created_at timestamptz not null default now(),
    submitted_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    updated_at timestamptz not null default now(),
    constraint smelts_counters check (seq > 0 and run > 0 and attempt >= 0 and failure_count >= 0),
    constraint smelts_options_is_object check (jsonb_typeof(options) = 'object'),
    constraint smelts_metadata_is_small_object
        check (jsonb_typeof(metadata) = 'object' and octet_length(metadata::text) <= 4096),
    constraint smelts_mode_known check (mode in ('separate', 'combine')),
    constraint smelts_status_known check (
        status in ('pending', 'validating', 'decoding', 'transcribing', 'synthesizing', 'completed', 'failed')
    ),
    constraint smelts_outcome_known check (outcome in ('complete', 'partial')),
    constraint smelts_audio_state_known check (audio_state in ('none', 'expected', 'stored', 'removing', 'removed')),
    -- The ranges of `smelt.stages`, as literals: a check that called a function would not be validated again when that
    -- function is replaced.
    constraint smelts_percentage_in_stage check (
        case status
            when 'pending' then percentage = 0
            when 'validating' then percentage between 0 and 10
            when 'decoding' then percentage between 10 and 20
            when 'transcribing' then percentage between 20 and 70
            when 'synthesizing' then percentage between 70 and 100
            when 'completed' then percentage = 100
            else percentage between 0 and 100
        end
    ),
    constraint smelts_message_length check (char_length(message) between 1 and 200),
    constraint smelts_completed_at_iff_ended check ((completed_at is not null) = (status in ('completed', 'failed'))),
    constraint smelts_outcome_iff_completed check ((outcome is not null) = (status = 'completed')),
    constraint smelts_error_iff_failed
        check ((error_code is not null) = (status = 'failed') and (error_message is not null) = (status = 'failed')),
    constraint smelts_error_code_known check (
        error_code in (
            'file_too_large', 'invalid_format', 'duration_exceeded', 'corrupted_file', 'decoding_failed',
            'transcription_failed', 'synthesis_failed', 'api_rate_limited', 'api_quota_exhausted', 'api_key_invalid',
            'connection_lost', 'cancelled', 'internal_error'
        )
    ),
    constraint smelts_claimable_only_open
        check (claimable_at is null or (submitted_at is not null and status not in ('completed', 'failed'))),
    constraint smelts_rank_only_claimable check (queue_rank is null or claimable_at is not null),
    constraint smelts_work_needs_submission check (status in ('pending', 'failed') or submitted_at is not null),
    constraint smelts_started_by_an_attempt check (started_at is null or attempt > 0),
    constraint smelts_estimate_only_open check (estimated_end_at is null or status not in ('completed', 'failed')),
    constraint smelts_audio_kept_only_ended
        check (audio_kept_until is null or (status in ('completed', 'failed') and audio_state <> 'none')),
    constraint smelts_audio_stored_when_submitted
        check (audio_state not in ('expected', 'stored') or (audio_state = 'stored') = (submitted_at is not null)),
    constraint smelts_audio_expected_only_open check (audio_state <> 'expected' or completed_at is null)
);
create index smelts_user_id_idx on public.smelts (user_id, created_at desc);
create index smelts_batch_id_idx on public.smelts (batch_id);
create index smelts_in_progress_by_batch_idx on public.smelts (batch_id)
    where started_at is not null and status not in ('completed', 'failed');
create index smelts_user_prompt_id_idx on public.smelts (user_prompt_id);
create index smelts_open_by_user_idx on public.smelts (user_id) where status not in ('completed', 'failed');
-- The place in the queue is read up to a thousand rows of this index.
create index smelts_queue_rank_idx on public.smelts (queue_rank, claimable_at, id) where queue_rank is not null;
-- Claims read the first rows of each model that their worker has.
create index smelts_queue_model_idx on public.smelts (queue_model, queue_rank, claimable_at, id)
    where queue_rank is not null;
-- Smelts that no worker has returned: the lowest of these ranks is the one that was reached.
create index smelts_queue_front_idx on public.smelts (queue_model, queue_rank)
    where queue_rank is not null and started_at is null;
create index smelts_queue_owner_idx on public.smelts (queue_owner, queue_rank) where queue_rank is not null;
create index smelts_ranked_at_idx on public.smelts (claimable_at) where queue_rank is not null;
create index smelts_unranked_idx on public.smelts (claimable_at, id)
    where queue_rank is null and claimable_at is not null;
create index smelts_unranked_model_idx on public.smelts (queue_model, claimable_at, id)
    where queue_rank is null and claimable_at is not null;
create index smelts_returned_idx on public.smelts (claimable_at) where claimable_at is not null and attempt > 1;
create index smelts_audio_removing_idx on public.smelts (id) where audio_state = 'removing';
-- Ended smelts whose upload still takes a place of their owner.
create index smelts_unused_audio_by_user_idx on public.smelts (user_id)
    where audio_state = 'removing' and submitted_at is null;
create index smelts_audio_stored_idx on public.smelts (completed_at)
    where audio_state = 'stored' and audio_kept_until is null;
create index smelts_audio_kept_idx on public.smelts (audio_kept_until)
    where audio_state = 'stored' and audio_kept_until is not null;
create index smelts_anonymous_ended_idx on public.smelts (completed_at) where is_anonymous;
create index smelts_unsubmitted_idx on public.smelts (created_at) where submitted_at is null;

-- One row for each input. A text also has one row, so that its result has the same form; the text itself is in
-- `smelt.requests`.
create table public.smelt_files (
    id uuid primary key default gen_random_uuid(),
    smelt_id uuid not null references public.smelts (id) on delete cascade,
    user_id uuid references auth.users (id) on delete cascade,
    position integer not null,
    filename text not null,
    input_type text not null,
    size_bytes bigint not null,
    upload_path text,
    object_version text,
    status text not null default 'pending',
    stage text not null default 'pending',
    progress numeric(4, 1) not null default 0,
    duration_seconds numeric(12, 3),
    language text,
    language_probability numeric(4, 3),
    transcribed boolean not null default false,
    -- Names that a client has given to speakers, by their labels in the segments.
    speaker_names jsonb not null default '{}',
    trust jsonb,
    error_code text,
    error_message text,
    created_at timestamptz not null default now(),
    constraint smelt_files_position unique (smelt_id, position),
    constraint smelt_files_upload_path unique (upload_path),
    constraint smelt_files_filename_length check (char_length(filename) between 1 and 255),
    constraint smelt_files_speaker_names_is_object check (jsonb_typeof(speaker_names) = 'object'),
    constraint smelt_files_size_not_negative check (size_bytes >= 0),
    constraint smelt_files_upload_path_iff_audio check ((upload_path is not null) = (input_type = 'audio')),
    constraint smelt_files_progress_range check (progress between 0 and 100),
    constraint smelt_files_input_type_known check (input_type in ('audio', 'text')),
    constraint smelt_files_status_known check (status in ('pending', 'processing', 'completed', 'failed')),
    constraint smelt_files_stage_of_status check (
        case status
            when 'processing' then stage in ('validating', 'decoding', 'transcribing', 'synthesizing')
            when 'completed' then stage = 'completed' and progress = 100
            else stage = status
        end
    ),
    constraint smelt_files_error_iff_failed
        check ((error_code is not null) = (status = 'failed') and (error_message is not null) = (status = 'failed')),
    constraint smelt_files_error_code_known check (
        error_code in (
            'file_too_large', 'invalid_format', 'duration_exceeded', 'corrupted_file', 'decoding_failed',
            'transcription_failed', 'synthesis_failed', 'api_rate_limited', 'api_quota_exhausted', 'api_key_invalid',
            'connection_lost', 'cancelled', 'internal_error'
        )
    )
);
create index smelt_files_user_id_idx on public.smelt_files (user_id);

-- The transcript as it grows. `seq` is that of the smelt when the segment was saved, moved to a new run, or its speaker
-- got a name. `speaker` is the label of the worker: the functions return the name of `smelt_files.speaker_names`
-- instead.
create table public.smelt_segments (
    file_id uuid not null references public.smelt_files (id) on delete cascade,
    index integer not null,
    smelt_id uuid not null references public.smelts (id) on delete cascade,
    run integer not null,
    seq bigint not null,
    start_s double precision not null,
    end_s double precision not null,
    text text not null,
    speaker text,
    avg_logprob double precision,
    no_speech_prob double precision,
    compression_ratio double precision,
    words jsonb,
    primary key (file_id, index),
    constraint smelt_segments_index_not_negative check (index >= 0),
    constraint smelt_segments_speaker_length check (char_length(speaker) between 1 and 100),
    constraint smelt_segments_times check (start_s >= 0 and end_s >= start_s)
);
create index smelt_segments_smelt_id_seq_idx on public.smelt_segments (smelt_id, seq);

-- The results, one for each file; a combined smelt has one, with the id of the smelt as `file_id`. Those of earlier
-- runs stay.
create table public.smelt_results (
    smelt_id uuid not null references public.smelts (id) on delete cascade,
    run integer not null,
    file_id uuid not null,
    position integer not null,
    filename text not null,
    content text not null,
    created_at timestamptz not null default now(),
    primary key (smelt_id, run, file_id)
);

-- The end of each run, and webhooks that were disabled, for the owner's list of notifications; the owner may set
-- `seen_at` and `read_at`.
create table public.smelt_notifications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users (id) on delete cascade,
    smelt_id uuid references public.smelts (id) on delete cascade,
    type text not null,
    title text not null,
    message text not null,
    data jsonb not null default '{}',
    created_at timestamptz not null default now(),
    seen_at timestamptz,
    read_at timestamptz,
    constraint smelt_notifications_type_known check (
        type in ('smelt_completed', 'smelt_failed', 'webhook_disabled')
    )
);
create index smelt_notifications_user_id_idx on public.smelt_notifications (user_id, created_at desc);
create index smelt_notifications_smelt_id_idx on public.smelt_notifications (smelt_id);

-- These rows are updated every second or two. Free space on the page lets Postgres update them without touching the
-- indexes (HOT).
alter table public.smelts set (fillfactor = 80);
alter table public.smelt_files set (fillfactor = 80);

-- The feed of a user's own rows follows these two tables. Their replica identity is the default, the id alone: Realtime
-- sends a DELETE to every subscriber, and a filter can test all columns of the identity. `smelt.notify_deletion`
-- notifies the owner of a deletion.
alter publication supabase_realtime add table public.smelts, public.smelt_files;
