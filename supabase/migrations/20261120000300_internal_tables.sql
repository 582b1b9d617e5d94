-- The tables that only smelt's functions use: limits, requests, leases, suspects, attempts, checkpoints, outbox,
-- workers.

-- One row: the limits, which the operator may edit.
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
    -- The third failure in a row without progress ends a smelt. If its workers stopped on one host while another host
    -- was alive, the host may be the cause: then only the fifth ends it.
    max_failures integer not null default 3,
    max_failures_on_one_host integer not null default 5,
    retry_base_s double precision not null default 5,
    retry_max_s double precision not null default 300,
    audio_retention_h double precision not null default 24,
    -- The longest `keep_audio_h` of a smelt.
    max_keep_audio_h double precision not null default 168,
    anonymous_retention_h double precision not null default 24,
    unsubmitted_retention_h double precision not null default 24,
    -- The webhooks that a user may have, and that the operator may have for the project.
    max_webhooks integer not null default 10,
    -- The header with the address of a visitor, in lower case. It must be one that the proxy before PostgREST sets and
    -- that no client can: on the platform, its proxy overwrites this one.
    client_ip_header text not null default 'cf-connecting-ip',
    constraint limits_one_row check (id),
    constraint limits_positive check (
        least(
            max_files, max_file_bytes, max_duration_s, max_open, anonymous_max_files, anonymous_max_file_bytes,
            anonymous_max_duration_s, anonymous_max_open, max_text_chars, max_prompt_chars, max_failures,
            max_failures_on_one_host
        ) > 0
    ),
    constraint limits_client_ip_header check (client_ip_header ~ '^[a-z0-9-]+$'),
    constraint limits_times_not_negative check (
        least(
            retry_base_s, retry_max_s, audio_retention_h, max_keep_audio_h, anonymous_retention_h,
            unsubmitted_retention_h
        ) >= 0
    ),
    constraint limits_max_webhooks_not_negative check (max_webhooks >= 0)
);
insert into smelt.limits default values;

-- The parts of a request that do not belong into `public.smelts`, whose row is sent to watchers with every change. The
-- prompt is stored as it was when the smelt was created. `client_hash` is set for a visitor while the smelt counts
-- toward the limit of open ones.
create table smelt.requests (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    user_id uuid,
    client_hash text,
    idempotency_key text,
    fingerprint text not null,
    text_input text,
    user_prompt jsonb,
    constraint requests_key_length check (char_length(idempotency_key) between 1 and 220)
);
create unique index requests_idempotency_key on smelt.requests (user_id, idempotency_key)
    nulls not distinct where idempotency_key is not null;
create index requests_client_hash_idx on smelt.requests (client_hash) where client_hash is not null;

-- Which attempt holds a smelt, and until when. There is a row for each smelt in progress, renewed every few seconds: an
-- index on `expires_at` would cost more than it saves. `claim_token` identifies the claim, whose repetition returns the
-- same leases. `worker_id` is null once the attempt is dispatched to an external service: its callbacks renew the lease
-- then, and the worker is free. `risk` is set by the last report while the file is decoded (also to probe it) or the
-- model reads it, and by each callback of an external service: if the lease expires then, the file may have stopped its
-- worker. Otherwise the expiry proves nothing. `queue_rank` is the rank at which the smelt was claimed: it has that
-- rank again if it is released, or if the lease expires.
create table smelt.leases (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    attempt bigint not null,
    worker_id text,
    host text not null,
    claim_token uuid,
    expires_at timestamptz not null,
    risk text,
    queue_owner uuid not null,
    queue_model text not null,
    queue_rank bigint not null,
    constraint leases_risk_known check (risk in ('decode', 'model', 'external'))
);
create index leases_queue_owner_idx on smelt.leases (queue_owner, queue_rank);
create index leases_queue_rank_idx on smelt.leases (queue_rank);

-- Smelts whose lease expired with a risk. A worker claims one alone, so that it takes no other smelt with it. `risk` is
-- the stage that it has to pass; then the row is deleted. `reserved_by` is a worker that claims nothing until it has
-- finished its other smelts, to claim this one.
create table smelt.suspects (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    risk text not null,
    reserved_by text,
    constraint suspects_risk_known check (risk in ('decode', 'model'))
);

-- One row for each claim: how the attempt ended and the response that its worker got, which a repeated call gets again;
-- for the operator its host, the risk at its end, if it counted as a failure, and the reason.
create table smelt.attempts (
    smelt_id uuid not null references public.smelts (id) on delete cascade,
    attempt bigint not null,
    run integer not null,
    worker_id text not null,
    host text not null,
    claimed_at timestamptz not null,
    ended_at timestamptz,
    ended_as text,
    risk text,
    is_failure boolean not null default false,
    reason text,
    response jsonb,
    primary key (smelt_id, attempt),
    constraint attempts_ended_as_known check (ended_as in ('settled', 'retrying', 'released', 'expired')),
    constraint attempts_ended_at_iff_ended check ((ended_at is not null) = (ended_as is not null)),
    constraint attempts_response_unless_expired
        check ((response is not null) = (coalesce(ended_as, 'expired') <> 'expired')),
    constraint attempts_risk_known check (risk in ('decode', 'model', 'external')),
    constraint attempts_reason_length check (char_length(reason) between 1 and 500)
);

-- Where the transcription of a file resumes, in a format of the worker's own.
create table smelt.checkpoints (
    file_id uuid primary key references public.smelt_files (id) on delete cascade,
    checkpoint jsonb not null
);

-- The outputs of a smelt that has not ended, in the order in which they are written; the last one of a file may be
-- incomplete. They are deleted at the end, which stores the results.
create table smelt.outputs (
    file_id uuid not null references public.smelt_files (id) on delete cascade,
    position integer not null,
    title text not null,
    content text not null,
    is_complete boolean not null,
    primary key (file_id, position),
    constraint outputs_position_not_negative check (position >= 0)
);

-- Events that must still be sent. A row is deleted once its event was acknowledged, or superseded by a newer one.
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

-- Workers with their last heartbeat, kept for a week.
create table smelt.workers (
    worker_id text primary key,
    host text not null,
    info jsonb not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);

-- The live workers: those with a heartbeat within the last 60 seconds.
create view smelt.live_workers as
    select w.* from smelt.workers as w where w.seen_at > clock_timestamp() - interval '60 s';
revoke all on smelt.live_workers from public, anon, authenticated, service_role;

-- When the workers were woken: `sent` the last time, and `followed` the last time after which a worker looks again. Two
-- rows, since a wake-up is skipped while the row `sent` is locked: claims must not lock it.
create table smelt.wake_ups (
    kind text primary key,
    at timestamptz not null default 'epoch',
    constraint wake_ups_kind_known check (kind in ('sent', 'followed'))
);
insert into smelt.wake_ups (kind) values ('sent'), ('followed');

-- One row: the lease of the worker that purges, so that one worker at a time does. `swept_to` is the name of the last
-- object of the bucket that was checked; null at the start of a sweep.
create table smelt.janitor (
    id boolean primary key default true,
    worker_id text,
    leased_until timestamptz,
    swept_to text,
    constraint janitor_one_row check (id),
    constraint janitor_lease_whole check ((worker_id is not null) = (leased_until is not null))
);
insert into smelt.janitor default values;

-- Smelts that could not be purged, for example because of a foreign key of the app; skipped until `retry_at`.
create table smelt.purge_failures (
    smelt_id uuid primary key references public.smelts (id) on delete cascade,
    error text not null,
    retry_at timestamptz not null
);
