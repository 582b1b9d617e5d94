-- The words of the contract: states, stages, codes, and the sentences that go with them.

-- What only smelt's own functions touch. PostgREST does not expose it.
create schema smelt;

-- In the order of the way: `greatest` of two is the one that is further.
create type public.smelt_status as enum (
    'pending', 'validating', 'decoding', 'transcribing', 'synthesizing', 'completed', 'failed'
);
create type public.smelt_file_status as enum ('pending', 'processing', 'completed', 'failed');
create type public.smelt_batch_status as enum ('pending', 'processing', 'completed', 'failed');
create type public.smelt_mode as enum ('separate', 'combine');
create type public.smelt_input_type as enum ('audio', 'text');
create type public.smelt_outcome as enum ('complete', 'partial');

-- Where the audio of a smelt is: none (a text), expected (not submitted yet), stored, to be removed, removed.
create type public.smelt_audio_state as enum ('none', 'expected', 'stored', 'removing', 'removed');

-- The one sentence for people that goes with an error code; null for a code that is not of the contract.
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

-- The code itself, or `internal_error` for one that is not of the contract.
create function smelt.normalize_error_code(p_code text) returns text
    language sql immutable
    set search_path = ''
    as $$ select case when smelt.error_sentence(p_code) is null then 'internal_error' else p_code end $$;

-- The message that goes with a stage.
create function smelt.stage_message(p_status public.smelt_status) returns text
    language sql immutable
    set search_path = ''
    as $$
        select case p_status
            when 'pending' then 'Waiting to process...'
            when 'validating' then 'Validating files...'
            when 'decoding' then 'Decoding audio...'
            when 'transcribing' then 'Transcribing audio...'
            when 'synthesizing' then 'Generating output...'
            when 'completed' then 'Complete'
            when 'failed' then 'Processing failed'
        end
    $$;

-- The lowest percentage of a stage; a failed smelt keeps what it had reached.
create function smelt.stage_floor(p_status public.smelt_status) returns numeric
    language sql immutable
    set search_path = ''
    as $$
        select case p_status
            when 'decoding' then 10
            when 'transcribing' then 20
            when 'synthesizing' then 70
            when 'completed' then 100
            else 0
        end::numeric
    $$;

-- The highest percentage of a stage.
create function smelt.stage_ceiling(p_status public.smelt_status) returns numeric
    language sql immutable
    set search_path = ''
    as $$
        select case p_status
            when 'pending' then 0
            when 'validating' then 10
            when 'decoding' then 20
            when 'transcribing' then 70
            else 100
        end::numeric
    $$;

-- Whether a smelt in this state has ended its run.
create function smelt.is_terminal(p_status public.smelt_status) returns boolean
    language sql immutable
    set search_path = ''
    as $$ select p_status in ('completed', 'failed') $$;

-- Refuse a request of a client: PostgREST answers the HTTP status that the code calls for, with the code as hint.
create function smelt.raise_rejection(p_code text, p_sentence text) returns void
    language plpgsql
    set search_path = ''
    as $$
    begin
        raise exception using
            message = p_sentence,
            hint = p_code,
            errcode = case p_code
                when 'combine_requires_auth' then 'PT403'
                when 'not_found' then 'PT404'
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

revoke all on function
    smelt.error_sentence, smelt.normalize_error_code, smelt.stage_message, smelt.stage_floor, smelt.stage_ceiling,
    smelt.is_terminal, smelt.raise_rejection
    from public, anon, authenticated, service_role;
