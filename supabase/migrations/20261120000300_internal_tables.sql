-- What the machine needs and nobody watches: limits, requests, leases, attempts, checkpoints, the outbox, workers.

-- One row that the operator edits.
create table smelt.limits (
    id boolean primary key default true,
    max_files integer not null default 5,
    max_file_bytes bigint not null default 524288000,
    max_duration_s integer not null default 21600,
    max_open integer not null default 100,
    anonymous_max_files integer not null default 1,
    anonymous_max_file_bytes bigint not null default 26214400,
    anonymous_max_duration_s integer not null default 1800,
    anonymous_max_open integer not null default 3,
    max_text_chars integer not null default 50000,
    max_prompt_chars integer not null default 4000,
    audio_extensions text[] not null default '{
        3gp, aac, aif, aiff, amr, caf, flac, m4a, m4b, mka, mkv, mov, mp2, mp3, mp4, mpeg, mpg, mpga, oga, ogg, ogv,
        opus, wav, weba, webm, wma
    }',
    max_failures integer not null default 3,
    retry_base_s double precision not null default 5,
    retry_max_s double precision not null default 300,
    audio_retention_h double precision not null default 24,
    anonymous_retention_h double precision not null default 24,
    unsubmitted_retention_h double precision not null default 24,
    constraint limits_one_row check (id),
    constraint limits_positive check (
        least(
            max_files, max_file_bytes, max_duration_s, max_open, anonymous_max_files, anonymous_max_file_bytes,
            anonymous_max_duration_s, anonymous_max_open, max_text_chars, max_prompt_chars, max_failures
        ) > 0
    ),
    constraint limits_times_not_negative check (
        least(retry_base_s, retry_max_s, audio_retention_h, anonymous_retention_h, unsubmitted_retention_h) >= 0
    )
);
insert into smelt.limits default values;

-- What was asked for and does not belong into a row that every change sends to watchers. The prompt is as it was when
-- the smelt was created. `client` is set for an anonymous caller without an account, as long as the smelt is open.
create table smelt.requests (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    user_id uuid,
    client text,
    idempotency_key text,
    fingerprint text not null,
    text_input text,
    user_prompt jsonb,
    constraint requests_key_length check (char_length(idempotency_key) between 1 and 200)
);
create unique index requests_idempotency_key on smelt.requests (user_id, idempotency_key)
    nulls not distinct where idempotency_key is not null;
create index requests_client_idx on smelt.requests (client) where client is not null;

-- Who works on what, and until when that holds. Unpublished: renewing is no change that anybody sees. As many rows as
-- smelts are under way, each renewed every few seconds: an index on `expires_at` would cost more than it finds. One that
-- `waits` is ready for the model and not at it yet: what ends its worker meanwhile is none of its doing.
create table smelt.leases (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    attempt bigint not null,
    worker_id text not null,
    expires_at timestamptz not null,
    waits boolean not null default false
);

-- Every time a worker took a smelt, how that ended, and what the worker was answered: a repeat is answered the same.
create table smelt.attempts (
    smelt_id uuid not null references public.smelts (id) on delete cascade,
    attempt bigint not null,
    run integer not null,
    worker_id text not null,
    claimed_at timestamptz not null,
    ended_at timestamptz,
    ending text,
    answer jsonb,
    primary key (smelt_id, attempt),
    constraint attempts_ending_known check (ending in ('settled', 'retrying', 'released', 'expired')),
    constraint attempts_ended_at_iff_ended check ((ended_at is not null) = (ending is not null)),
    constraint attempts_answer_unless_expired check ((answer is not null) = (coalesce(ending, 'expired') <> 'expired'))
);

-- How far a worker got with a file, in its own words.
create table smelt.checkpoints (
    file_id uuid primary key references public.smelt_files (id) on delete cascade,
    checkpoint jsonb not null
);

-- Broadcasts that are owed. A row goes when it was acknowledged, or when a newer one says more.
create table smelt.outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null,
    smelt_id uuid references public.smelts (id) on delete cascade,
    run integer,
    topic text not null,
    event text not null,
    payload jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    leased_by text,
    leased_until timestamptz,
    constraint outbox_event_id unique (event_id),
    constraint outbox_run_iff_smelt check ((run is not null) = (smelt_id is not null)),
    constraint outbox_lease_whole check ((leased_by is not null) = (leased_until is not null))
);
create index outbox_smelt_id_idx on smelt.outbox (smelt_id);
create index outbox_topic_idx on smelt.outbox (topic);
create index outbox_created_at_idx on smelt.outbox (created_at);

-- Workers as they last reported themselves, for a week.
create table smelt.workers (
    worker_id text primary key,
    info jsonb not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);

-- Who removes what has expired, so that one worker at a time does. One row; a worker that dies with it is waited for.
-- `swept_to` is the name of the last object that was checked for a smelt, null before the first one.
create table smelt.janitor (
    id boolean primary key default true,
    worker_id text,
    leased_until timestamptz,
    swept_to text,
    constraint janitor_one_row check (id),
    constraint janitor_lease_whole check ((worker_id is not null) = (leased_until is not null))
);
insert into smelt.janitor default values;

-- Smelts that could not be purged, a foreign key of the app for one; they are skipped until `retry_at`.
create table smelt.purge_failures (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    error text not null,
    retry_at timestamptz not null
);
