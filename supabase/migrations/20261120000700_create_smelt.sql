-- Creating smelts and batches.

-- Reject arguments of the wrong JSON type, and unknown modes.
create function smelt.check_shape(p_files jsonb, p_mode text) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    begin
        if jsonb_typeof(p_files) <> 'array' then
            perform smelt.raise_rejection('invalid_request', '"files" must be a list of {filename, size_bytes}.');
        elsif p_mode is null or p_mode not in ('separate', 'combine') then
            perform smelt.raise_rejection('invalid_request', '"mode" must be "separate" or "combine".');
        end if;
    end
    $$;

-- Reject files and texts beyond the limits of the caller.
create function smelt.check_input(p_files jsonb, p_text text, p_mode text, p_caller smelt.caller) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_allowance constant smelt.allowance := smelt.allowance_for(p_caller.is_anonymous);
        v_limits smelt.limits;
        v_file_count constant integer := jsonb_array_length(p_files);
        v_has_text constant boolean := coalesce(p_text ~ '\S', false);
    begin
        select l.* into v_limits from smelt.limits as l;
        if v_file_count > 0 and v_has_text then
            perform smelt.raise_rejection(
                'mixed_input', 'A smelt has either files or a text, not both; create two smelts.'
            );
        elsif v_file_count = 0 and not v_has_text then
            perform smelt.raise_rejection('no_input', 'A smelt needs at least one file or a text.');
        elsif p_mode = 'combine' and p_caller.is_anonymous then
            perform smelt.raise_rejection('combine_requires_auth', 'Sign in to combine several files.');
        elsif v_file_count > v_allowance.max_files then
            perform smelt.raise_rejection(
                'too_many_files',
                format('%s files are too many: a smelt may have %s.', v_file_count, v_allowance.max_files)
            );
        elsif p_mode = 'combine' and v_file_count < 2 then
            perform smelt.raise_rejection('combine_requires_multiple', '"combine" needs at least two files.');
        elsif char_length(p_text) > v_limits.max_text_chars then
            perform smelt.raise_rejection(
                'file_too_large',
                format('The text is longer than %s characters; shorten or divide it.', v_limits.max_text_chars)
            );
        end if;
        perform smelt.check_file(file, v_allowance.max_file_bytes, v_limits.audio_extensions)
        from jsonb_array_elements(p_files) as file;
    end
    $$;

-- Reject an announced file that is malformed, too large, or of an unknown type by its extension.
create function smelt.check_file(p_file jsonb, p_max_bytes bigint, p_extensions text[]) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_filename constant text := p_file ->> 'filename';
        v_extension constant text := lower(substring(v_filename from '\.([^.]*)$'));
    begin
        if jsonb_typeof(p_file -> 'filename') is distinct from 'string' or v_filename !~ '\S'
            or char_length(v_filename) > 255
        then
            perform smelt.raise_rejection('invalid_request', 'A file needs a "filename" of 1 to 255 characters.');
        elsif v_filename ~ '[\u0001-\u001F\u007F-\u009F]' then
            -- C0, DEL and C1: a terminal would execute an escape sequence.
            perform smelt.raise_rejection('invalid_request', 'A "filename" must not contain control characters.');
        elsif jsonb_typeof(p_file -> 'size_bytes') is distinct from 'number'
            or (p_file ->> 'size_bytes') !~ '^[0-9]{1,18}$'
        then
            perform smelt.raise_rejection('invalid_request', 'A file needs its "size_bytes", a whole number.');
        elsif (p_file ->> 'size_bytes')::bigint > p_max_bytes then
            perform smelt.raise_rejection(
                'file_too_large',
                format('%s is larger than %s, the limit for a file.', v_filename, pg_size_pretty(p_max_bytes))
            );
        elsif not v_extension = any (p_extensions) then
            perform smelt.raise_rejection(
                'invalid_format',
                format('%s is not an audio or video file of a supported type, by its extension.', v_filename)
            );
        end if;
    end
    $$;

-- Return the names of the default prompts to apply, each once; `summarize` without any. Reject unknown names.
create function smelt.check_prompt_names(p_names text[], p_user_prompt_id uuid) returns text[]
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_known constant text[] := '{summarize,action_items,detailed_notes,qa_format,table_of_contents}';
        v_names text[];
        v_unknown text;
    begin
        select array_agg(name order by ordinal) into v_names
        from (
            select name, min(ordinal) as ordinal
            from unnest(p_names) with ordinality as n (name, ordinal)
            group by name
        ) as distinct_names;
        select name into v_unknown
        from unnest(v_names) as name
        where name is null or name <> all (v_known);
        if found then
            perform smelt.raise_rejection(
                'prompt_not_found',
                format(
                    'The default prompts are %s; "%s" does not exist.', array_to_string(v_known, ', '), v_unknown
                )
            );
        end if;
        return coalesce(v_names, case when p_user_prompt_id is null then '{summarize}' else '{}' end::text[]);
    end
    $$;

-- Return a prompt of the caller as it is now; null if the request has none.
create function smelt.find_user_prompt(p_prompt_id uuid, p_caller smelt.caller) returns jsonb
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_prompt jsonb;
    begin
        if p_prompt_id is null then
            return null;
        end if;
        select jsonb_build_object('id', p.id, 'name', p.name, 'content', p.content) into v_prompt
        from public.smelt_prompts as p
        where p.id = p_prompt_id and (p.user_id = p_caller.user_id or p_caller.is_service);
        if not found then
            perform smelt.raise_rejection('prompt_not_found', 'The prompt does not exist, or belongs to another user.');
        end if;
        return v_prompt;
    end
    $$;

-- Reject a batch of another user.
create function smelt.check_batch(p_batch_id uuid, p_caller smelt.caller) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    begin
        if p_batch_id is not null and not exists (
            select from public.smelt_batches as b where b.id = p_batch_id and b.user_id = p_caller.user_id
        ) then
            perform smelt.raise_rejection('not_found', 'The batch does not exist, or belongs to another user.');
        end if;
    end
    $$;

-- Enforce the limit of open smelts; return the hash to count a smelt without an owner by, else null. An advisory lock
-- makes requests of the same user, or from the same address, wait until this transaction ends: the count is exact.
create function smelt.reserve_open_slot(p_owner uuid, p_is_anonymous boolean) returns text
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_client_hash constant text := case when p_owner is null then smelt.current_client() end;
        v_max constant integer := (smelt.allowance_for(p_is_anonymous)).max_open;
        v_open_count bigint;
    begin
        if (smelt.current_caller()).is_service then
            return null;
        end if;
        perform pg_advisory_xact_lock(hashtextextended('smelt open ' || coalesce(p_owner::text, v_client_hash), 0));
        if p_owner is not null then
            select count(*) into v_open_count
            from public.smelts as s
            where s.user_id = p_owner and s.status not in ('completed', 'failed');
        else
            select count(*) into v_open_count from smelt.requests as r where r.client_hash = v_client_hash;
        end if;
        if v_open_count >= v_max then
            perform smelt.raise_rejection(
                'too_many_open',
                format('At most %s smelts may be open at a time; wait until one ends, or cancel one.', v_max)
            );
        end if;
        return v_client_hash;
    end
    $$;

-- Return the smelt that the same request created before, else null. Reject a key that another request used.
create function smelt.find_idempotent_smelt(p_caller smelt.caller, p_key text, p_fingerprint text) returns uuid
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_request smelt.requests;
    begin
        if p_key is null then
            return null;
        elsif char_length(p_key) not between 1 and 200 then
            perform smelt.raise_rejection('invalid_request', 'An idempotency key must have 1 to 200 characters.');
        elsif p_caller.user_id is null and not p_caller.is_service
            and p_key !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
        then
            -- Visitors share one namespace: a key that could be guessed would return the smelt of another visitor.
            perform smelt.raise_rejection('invalid_request', 'Without a sign-in, an idempotency key must be a UUID.');
        end if;
        perform pg_advisory_xact_lock(
            hashtextextended(format('smelt key %s %s', p_caller.user_id, p_key), 0)
        );
        select r.* into v_request
        from smelt.requests as r
        where r.user_id is not distinct from p_caller.user_id and r.idempotency_key = p_key;
        if found and v_request.fingerprint <> p_fingerprint then
            perform smelt.raise_rejection(
                'idempotency_conflict', 'The idempotency key was used for another request; use a new one.'
            );
        end if;
        return v_request.smelt_id;
    end
    $$;

-- Return the object name of a file. Storage accepts few characters in a name; the others become underscores.
create function smelt.upload_path(p_smelt_id uuid, p_file_id uuid, p_filename text) returns text
    language sql immutable
    set search_path = ''
    as $$
        select format(
            '%s/%s/%s', p_smelt_id, p_file_id,
            coalesce(nullif(ltrim(right(regexp_replace(p_filename, '[^A-Za-z0-9._-]+', '_', 'g'), 100), '.'), ''), '_')
        )
    $$;

-- Insert the announced files of a new smelt, or the one row for its text.
create function smelt.insert_files(p_smelt_id uuid, p_owner uuid, p_files jsonb, p_text text) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        if p_text is not null then
            insert into public.smelt_files (smelt_id, user_id, position, filename, input_type, size_bytes)
            values (p_smelt_id, p_owner, 0, 'text', 'text', octet_length(p_text));
            return;
        end if;
        insert into public.smelt_files (id, smelt_id, user_id, position, filename, input_type, size_bytes, upload_path)
        select
            f.id, p_smelt_id, p_owner, f.ordinal - 1, f.file ->> 'filename', 'audio',
            (f.file ->> 'size_bytes')::bigint, smelt.upload_path(p_smelt_id, f.id, f.file ->> 'filename')
        from (
            select gen_random_uuid() as id, file, ordinal
            from jsonb_array_elements(p_files) with ordinality as announced (file, ordinal)
        ) as f;
    end
    $$;

-- Return the response of `create_smelt`.
create function smelt.creation_response(p_smelt_id uuid) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'id', s.id, 'status', s.status, 'mode', s.mode,
            'files', (
                select jsonb_agg(
                    jsonb_build_object(
                        'id', f.id, 'filename', f.filename, 'size_bytes', f.size_bytes, 'input_type', f.input_type,
                        'position', f.position, 'status', f.status, 'upload_path', f.upload_path
                    )
                    order by f.position
                )
                from public.smelt_files as f
                where f.smelt_id = s.id
            ),
            'default_prompt_names', s.default_prompt_names, 'user_prompt_id', s.user_prompt_id,
            'created_at', s.created_at, 'subscription_channel', smelt.topic_of(s.id)
        )
        from public.smelts as s
        where s.id = p_smelt_id
    $$;

-- Insert a checked smelt with its files and its request; a text with `submitted_at` is claimable at once.
create function smelt.insert_smelt(p_smelt public.smelts, p_request smelt.requests, p_files jsonb) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_text constant text := p_request.text_input;
        v_smelt public.smelts;
    begin
        insert into public.smelts (
            id, user_id, is_anonymous, batch_id, mode, default_prompt_names, user_prompt_id,
            audio_state, submitted_at, claimable_at, queue_rank
        )
        values (
            p_smelt.id, p_smelt.user_id, p_smelt.is_anonymous, p_smelt.batch_id, p_smelt.mode,
            p_smelt.default_prompt_names, p_smelt.user_prompt_id,
            case when v_text is null then 'expected' else 'none' end,
            p_smelt.submitted_at, p_smelt.submitted_at,
            case
                when p_smelt.submitted_at is not null then
                    smelt.next_rank(smelt.queue_owner(p_smelt.user_id, p_smelt.is_anonymous))
            end
        )
        returning * into v_smelt;
        insert into smelt.requests (
            smelt_id, user_id, client_hash, idempotency_key, fingerprint, text_input, user_prompt
        )
        values (
            p_request.smelt_id, p_request.user_id, p_request.client_hash, p_request.idempotency_key,
            p_request.fingerprint, p_request.text_input, p_request.user_prompt
        );
        perform smelt.insert_files(p_smelt.id, p_smelt.user_id, p_files, v_text);
        if v_smelt.batch_id is not null then
            perform smelt.update_batch_progress(v_smelt.batch_id, v_smelt, true);
        end if;
    end
    $$;

-- Check a request and create the smelt; return the existing one if the same request was made with the same key.
create function smelt.create_smelt(
    p_files jsonb, p_text text, p_mode text, p_prompt_names text[], p_user_prompt_id uuid, p_batch_id uuid, p_key text,
    p_submit boolean
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_caller constant smelt.caller := smelt.current_caller();
        v_files constant jsonb := coalesce(p_files, '[]');
        v_smelt public.smelts;
        v_request smelt.requests;
    begin
        perform smelt.check_shape(v_files, p_mode);
        v_request.fingerprint := encode(sha256(convert_to(jsonb_build_array(
            v_files, p_text, p_mode, p_prompt_names, p_user_prompt_id, p_batch_id
        )::text, 'UTF8')), 'hex');
        v_request.smelt_id := smelt.find_idempotent_smelt(v_caller, p_key, v_request.fingerprint);
        if v_request.smelt_id is not null then
            return smelt.creation_response(v_request.smelt_id);
        end if;

        perform smelt.check_input(v_files, p_text, p_mode, v_caller);
        perform smelt.check_batch(p_batch_id, v_caller);
        v_smelt.id := gen_random_uuid();
        v_smelt.user_id := v_caller.user_id;
        v_smelt.is_anonymous := v_caller.is_anonymous;
        v_smelt.batch_id := p_batch_id;
        v_smelt.mode := p_mode;
        v_smelt.default_prompt_names := smelt.check_prompt_names(p_prompt_names, p_user_prompt_id);
        v_smelt.user_prompt_id := p_user_prompt_id;
        v_request.smelt_id := v_smelt.id;
        v_request.user_id := v_caller.user_id;
        v_request.client_hash := smelt.reserve_open_slot(v_caller.user_id, v_caller.is_anonymous);
        v_request.idempotency_key := p_key;
        v_request.text_input := case when v_files = '[]' then p_text end;
        v_smelt.submitted_at := case
            when coalesce(p_submit, true) and v_request.text_input is not null then now()
        end;
        v_request.user_prompt := smelt.find_user_prompt(p_user_prompt_id, v_caller);
        perform smelt.insert_smelt(v_smelt, v_request, v_files);
        return smelt.creation_response(v_smelt.id);
    end
    $$;

-- Create a batch of the caller.
create function smelt.create_smelt_batch(p_title text) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_batch public.smelt_batches;
    begin
        if char_length(p_title) > 200 then
            perform smelt.raise_rejection('invalid_request', 'A title must not be longer than 200 characters.');
        end if;
        insert into public.smelt_batches (user_id, title) values (auth.uid(), p_title) returning * into v_batch;
        return smelt.batch_state(v_batch);
    end
    $$;

-- Create a smelt of files, or of a text. The response contains the path to upload each file to, in the bucket
-- `smelt-audio`, and the private channel of the smelt. A smelt of files waits for `submit_smelt`; a text only
-- if `submit` is false.
create function public.create_smelt(
    files jsonb default '[]',
    text_input text default null,
    mode text default 'separate',
    default_prompt_names text[] default null,
    user_prompt_id uuid default null,
    batch_id uuid default null,
    idempotency_key text default null,
    submit boolean default true
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.create_smelt(
            create_smelt.files, create_smelt.text_input, create_smelt.mode, create_smelt.default_prompt_names,
            create_smelt.user_prompt_id, create_smelt.batch_id, create_smelt.idempotency_key, create_smelt.submit
        )
    $$;

-- Create a batch; `create_smelt` adds smelts to it by its id.
create function public.create_smelt_batch(title text default null) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.create_smelt_batch(create_smelt_batch.title) $$;

revoke all on function
    smelt.check_shape, smelt.check_input, smelt.check_file, smelt.check_prompt_names, smelt.find_user_prompt,
    smelt.check_batch, smelt.reserve_open_slot, smelt.find_idempotent_smelt, smelt.upload_path, smelt.insert_files,
    smelt.creation_response, smelt.insert_smelt, smelt.create_smelt, smelt.create_smelt_batch, public.create_smelt,
    public.create_smelt_batch
    from public, anon, authenticated, service_role;
grant execute on function smelt.create_smelt, public.create_smelt to anon, authenticated, service_role;
grant execute on function smelt.create_smelt_batch, public.create_smelt_batch to authenticated;
