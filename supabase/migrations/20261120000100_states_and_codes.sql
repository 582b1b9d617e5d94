-- The schema of smelt's internals, its version, and the statuses and error codes with their messages.

-- Later migrations need the tables of Realtime and Storage, which their servers create when they first start.
do $$
    begin
        if to_regclass('realtime.messages') is null or to_regclass('storage.objects') is null then
            raise exception using
                message = 'realtime.messages or storage.objects does not exist: Realtime and Storage have not started '
                    'in this project yet.',
                hint = 'Start them (`supabase start`; on the platform, wait until the project is healthy), then apply '
                    'the migrations again.';
        end if;
    end
$$;

-- Tables and functions that only smelt's own functions use. PostgREST does not expose it.
create schema smelt;

-- One row: the version of this schema, and the lowest version that a worker may be made for. The last migration of each
-- release updates it; workers and `smelt doctor` compare it with their own version.
create table smelt.schema_version (
    id boolean primary key default true,
    version integer not null,
    compatible_from integer not null,
    constraint schema_version_one_row check (id),
    constraint schema_version_range check (compatible_from between 1 and version)
);
insert into smelt.schema_version (version, compatible_from) values (1, 1);

-- The statuses of a smelt in order, each with its message and its range of percentages. Within a run a smelt only moves
-- to a higher position. A new stage needs a row here and a value in the checks of `smelts` and `smelt_files`.
create table smelt.stages (
    status text primary key,
    position integer not null,
    message text not null,
    min_percentage numeric not null,
    max_percentage numeric not null,
    constraint stages_position unique (position),
    constraint stages_range check (0 <= min_percentage and min_percentage <= max_percentage and max_percentage <= 100)
);
insert into smelt.stages (status, position, message, min_percentage, max_percentage)
values
    ('pending', 0, 'Waiting to process...', 0, 0),
    ('validating', 10, 'Validating files...', 0, 10),
    ('decoding', 20, 'Decoding audio...', 10, 20),
    ('transcribing', 30, 'Transcribing audio...', 20, 70),
    ('synthesizing', 40, 'Generating output...', 70, 100),
    ('completed', 50, 'Complete', 100, 100),
    -- A failed smelt keeps its percentage.
    ('failed', 60, 'Processing failed', 0, 100);

-- Return the message of an error code for people; null for an unknown code.
create function smelt.error_sentence(p_code text) returns text
    language sql immutable
    set search_path = ''
    as $$
        select case p_code
            when 'file_too_large' then 'The file is larger than allowed.'
            when 'invalid_format' then 'The file is not a recording that can be read.'
            when 'duration_exceeded' then 'The recording is longer than allowed.'
            when 'corrupted_file' then 'The file is damaged or empty.'
            when 'decoding_failed' then 'The audio in the file could not be decoded.'
            when 'transcription_failed' then 'The recording could not be transcribed.'
            when 'synthesis_failed' then 'The transcript is ready, but the output could not be generated.'
            when 'api_rate_limited' then 'The language model is busy; try again in a moment.'
            when 'api_quota_exhausted' then 'The quota of the language model is used up.'
            when 'api_key_invalid' then 'The key for the language model is not accepted.'
            when 'connection_lost' then 'The connection to a service was lost too often.'
            when 'cancelled' then 'The smelt was cancelled.'
            when 'internal_error' then 'Something went wrong on our side; the smelt can be retried.'
        end
    $$;

-- Return the code, or `internal_error` for an unknown one.
create function smelt.normalize_error_code(p_code text) returns text
    language sql immutable
    set search_path = ''
    as $$ select case when smelt.error_sentence(p_code) is null then 'internal_error' else p_code end $$;

-- Return the message of a status.
create function smelt.stage_message(p_status text) returns text
    language sql stable
    set search_path = ''
    as $$ select s.message from smelt.stages as s where s.status = p_status $$;

-- Return the status with the higher position; null counts as lower than any.
create function smelt.further_stage(p_status text, p_other text) returns text
    language sql stable
    set search_path = ''
    as $$
        select s.status from smelt.stages as s where s.status in (p_status, p_other) order by s.position desc limit 1
    $$;

-- Return true if the status ends the run.
create function smelt.is_terminal(p_status text) returns boolean
    language sql immutable
    set search_path = ''
    as $$ select p_status in ('completed', 'failed') $$;

-- Reject a request: raise an error that PostgREST returns as HTTP 4xx, with the stable code as hint and a message for
-- people. PostgREST also writes the message into the status line of HTTP: control characters, which could end that
-- line, are replaced, and the length is limited.
create function smelt.raise_rejection(p_code text, p_message text) returns void
    language plpgsql
    set search_path = ''
    as $$
    begin
        raise exception using
            message = left(regexp_replace(p_message, '[\u0001-\u001F\u007F-\u009F\u2028\u2029]', '?', 'g'), 400),
            hint = p_code,
            errcode = case p_code
                when 'combine_requires_auth' then 'PT403'
                when 'not_allowed' then 'PT403'
                when 'not_found' then 'PT404'
                when 'speaker_not_found' then 'PT404'
                when 'missing_upload' then 'PT409'
                when 'idempotency_conflict' then 'PT409'
                when 'still_referenced' then 'PT409'
                when 'audio_expired' then 'PT410'
                when 'file_too_large' then 'PT413'
                when 'too_many_open' then 'PT429'
                else 'PT400'
            end;
    end
    $$;

-- Return the codes of the languages that Whisper knows.
create function smelt.known_languages() returns text[]
    language sql immutable
    set search_path = ''
    as $$
        select '{
            af, am, ar, as, az, ba, be, bg, bn, bo, br, bs, ca, cs, cy, da, de, el, en, es, et, eu, fa, fi, fo, fr, gl,
            gu, ha, haw, he, hi, hr, ht, hu, hy, id, is, it, ja, jw, ka, kk, km, kn, ko, la, lb, ln, lo, lt, lv, mg, mi,
            mk, ml, mn, mr, ms, mt, my, ne, nl, nn, no, oc, pa, pl, ps, pt, ro, ru, sa, sd, si, sk, sl, sn, so, sq, sr,
            su, sv, sw, ta, te, tg, th, tk, tl, tr, tt, uk, ur, uz, vi, yi, yo, yue, zh
        }'::text[]
    $$;

revoke all on function
    smelt.error_sentence, smelt.normalize_error_code, smelt.stage_message, smelt.further_stage, smelt.is_terminal,
    smelt.raise_rejection, smelt.known_languages
    from public, anon, authenticated, service_role;
