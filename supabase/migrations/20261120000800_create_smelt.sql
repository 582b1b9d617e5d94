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
        elsif smelt.has_control_characters(v_filename) then
            -- A terminal would execute an escape sequence.
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
        elsif not coalesce(v_extension = any (p_extensions), false) then
            perform smelt.raise_rejection(
                'invalid_format',
                format('%s is not an audio or video file of a supported type, by its extension.', v_filename)
            );
        end if;
    end
    $$;

-- Return the names of the default prompts to apply, each once. Without a list, `summarize`, or the user's prompt alone;
-- an empty list applies none. Reject unknown names.
create function smelt.check_prompt_names(p_names text[], p_user_prompt_id uuid) returns text[]
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_known constant text[] := '{summarize,action_items,detailed_notes,qa_format,table_of_contents}';
        v_names text[];
        v_unknown text;
    begin
        if p_names is null then
            return case when p_user_prompt_id is null then '{summarize}' else '{}' end;
        end if;
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
        return coalesce(v_names, '{}');
    end
    $$;

-- Reject an option, with a sentence that begins with its name.
create function smelt.reject_option(p_name text, p_sentence text) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    begin
        perform smelt.raise_rejection('invalid_options', format('"%s" %s', left(p_name, 50), p_sentence));
    end
    $$;

-- Return true if a text contains a control character: C0, DEL or C1.
create function smelt.has_control_characters(p_text text) returns boolean
    language sql immutable
    set search_path = ''
    as $$ select p_text ~ '[\u0001-\u001F\u007F-\u009F]' $$;

-- Return a text without the spaces around it: all spaces of Unicode, in any locale of the database.
create function smelt.trimmed(p_text text) returns text
    language sql immutable
    set search_path = ''
    as $$
        select btrim(p_text, U&' \00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A'
            || U&'\2028\2029\202F\205F\3000')
    $$;

-- Return a vocabulary without the spaces around its terms; reject one that is not a list of short terms.
create function smelt.check_vocabulary(p_vocabulary jsonb) returns jsonb
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_terms jsonb;
        v_has_others boolean;
        v_has_other_lengths boolean;
        v_has_control_characters boolean;
    begin
        if jsonb_typeof(p_vocabulary) <> 'array' then
            perform smelt.reject_option('vocabulary', 'must be a list of words and names.');
        elsif jsonb_array_length(p_vocabulary) > 100 then
            perform smelt.reject_option(
                'vocabulary',
                format('may have 100 words and names; these are %s.', jsonb_array_length(p_vocabulary))
            );
        end if;
        select
            coalesce(jsonb_agg(t.term order by t.ordinal), '[]'),
            bool_or(t.kind <> 'string'),
            bool_or(char_length(t.term) not between 1 and 100),
            bool_or(smelt.has_control_characters(t.term))
        into v_terms, v_has_others, v_has_other_lengths, v_has_control_characters
        from (
            select
                jsonb_typeof(e.value) as kind,
                smelt.trimmed(e.value #>> '{}') as term,
                e.ordinal
            from jsonb_array_elements(p_vocabulary) with ordinality as e (value, ordinal)
        ) as t;
        if v_has_others then
            perform smelt.reject_option('vocabulary', 'must be a list of words and names.');
        elsif v_has_control_characters then
            perform smelt.reject_option('vocabulary', 'must not contain control characters.');
        elsif v_has_other_lengths then
            perform smelt.reject_option('vocabulary', 'must have words and names of 1 to 100 characters.');
        end if;
        return v_terms;
    end
    $$;

-- Reject an option of an unknown name or with a value that it cannot have. Null stands for its default value.
create function smelt.check_option(p_name text, p_value jsonb) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_type constant text := nullif(jsonb_typeof(p_value), 'null');
        v_text constant text := p_value #>> '{}';
        v_max_h constant numeric := (select l.max_keep_audio_h from smelt.limits as l);
        v_sentence text;
    begin
        v_sentence := case p_name
            when 'language' then case
                when v_type <> 'string' or v_text <> all (smelt.known_languages()) then format(
                    'must be the code of a language, such as "de"; %s is not.', left(p_value::text, 50)
                )
            end
            when 'task' then case
                when v_type <> 'string' or v_text not in ('transcribe', 'translate') then
                    'must be "transcribe" or "translate".'
            end
            when 'word_times' then case when v_type <> 'boolean' then 'must be true or false.' end
            when 'speakers' then case when v_type <> 'boolean' then 'must be true or false.' end
            when 'channels' then case
                when v_type <> 'string' or v_text not in ('mixed', 'separate') then 'must be "mixed" or "separate".'
            end
            when 'model' then case
                when v_type <> 'string' or char_length(v_text) > 200 or v_text !~ '\S'
                    or smelt.has_control_characters(v_text)
                then 'must be the name of a model, of 1 to 200 characters.'
            end
            when 'keep_audio_h' then case
                when v_type <> 'number' then 'must be a number of hours.'
                when v_text::numeric < 0 then 'must not be negative.'
                when v_text::numeric > v_max_h then
                    format('is limited to %s hours on this project.', v_max_h)
            end
            when 'vocabulary' then null
            else 'is not an option.'
        end;
        if v_sentence is not null then
            perform smelt.reject_option(p_name, v_sentence);
        end if;
    end
    $$;

-- Return the options of a request without those that are null or have their default value. Reject unknown options,
-- values that an option cannot have, and, with a text, options of recordings.
create function smelt.check_options(p_options jsonb, p_has_text boolean) returns jsonb
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_defaults constant jsonb :=
            '{"task": "transcribe", "channels": "mixed", "speakers": false, "vocabulary": []}';
        v_options jsonb := '{}';
        v_option record;
    begin
        if jsonb_typeof(p_options) <> 'object' then
            perform smelt.raise_rejection('invalid_options', '"options" must be an object.');
        end if;
        for v_option in
            select o.key as name, o.value from jsonb_each(p_options) as o order by o.key
        loop
            perform smelt.check_option(v_option.name, v_option.value);
            continue when jsonb_typeof(v_option.value) = 'null';
            if v_option.name = 'vocabulary' then
                v_option.value := smelt.check_vocabulary(v_option.value);
            elsif v_option.name = 'keep_audio_h' then
                -- In JSON, a number may be too small for a float.
                v_option.value := to_jsonb(trim_scale(round((v_option.value #>> '{}')::numeric, 4)));
            end if;
            continue when v_option.value = v_defaults -> v_option.name;
            if p_has_text and v_option.name <> 'vocabulary' then
                perform smelt.reject_option(v_option.name, 'is for recordings; a text has no audio.');
            end if;
            v_options := v_options || jsonb_build_object(v_option.name, v_option.value);
        end loop;
        if v_options ?& '{channels,speakers}' then
            perform smelt.reject_option('speakers', 'needs "channels": "mixed"; else each channel is a speaker.');
        end if;
        return v_options;
    end
    $$;

-- Reject metadata that is not an object, or larger than 4 KiB as text.
create function smelt.check_metadata(p_metadata jsonb) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    begin
        if jsonb_typeof(p_metadata) <> 'object' then
            perform smelt.raise_rejection('invalid_request', '"metadata" must be an object.');
        elsif octet_length(p_metadata::text) > 4096 then
            perform smelt.raise_rejection(
                'invalid_request',
                format('"metadata" has %s bytes as JSON; 4096 are allowed.', octet_length(p_metadata::text))
            );
        end if;
    end
    $$;

-- Return the caller that a new smelt is created for: a service may name a user, who then owns it in every respect.
create function smelt.creator(p_user_id uuid) returns smelt.caller
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_caller smelt.caller := smelt.current_caller();
    begin
        if p_user_id is null or p_user_id = v_caller.user_id then
            return v_caller;
        elsif not v_caller.is_service then
            perform smelt.raise_rejection('not_allowed', 'Only the service creates a smelt for another user.');
        end if;
        select u.id, coalesce(u.is_anonymous, false), false into v_caller
        from auth.users as u
        where u.id = p_user_id;
        if not found then
            perform smelt.raise_rejection('invalid_request', format('The user %s does not exist.', p_user_id));
        end if;
        return v_caller;
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

-- Enforce the limit of open smelts, except for a service; return the hash to count a smelt without an owner by, else
-- null. Ended smelts count while an upload that was never submitted is still there. An advisory lock makes requests of
-- the same user, or from the same address, wait until this transaction ends: the count is exact.
create function smelt.reserve_open_slot(p_owner uuid, p_is_anonymous boolean, p_is_service boolean) returns text
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_client_hash constant text := case when p_owner is null then smelt.current_client() end;
        v_max constant integer := (smelt.allowance_for(p_is_anonymous)).max_open;
        v_open_count bigint;
    begin
        if p_is_service then
            return null;
        end if;
        perform pg_advisory_xact_lock(hashtextextended('smelt open ' || coalesce(p_owner::text, v_client_hash), 0));
        if p_owner is not null then
            select (
                select count(*)
                from public.smelts as s
                where s.user_id = p_owner and s.status not in ('completed', 'failed')
            ) + (
                select count(*)
                from public.smelts as s
                where s.user_id = p_owner and s.audio_state = 'removing' and s.submitted_at is null
                    and smelt.has_unused_audio(s)
            ) into v_open_count;
        else
            select count(*) into v_open_count from smelt.requests as r where r.client_hash = v_client_hash;
        end if;
        if v_open_count >= v_max then
            perform smelt.raise_rejection(
                'too_many_open',
                format(
                    'At most %s smelts may be open at a time; wait until one ends, or cancel one. '
                    'Uploads of cancelled smelts count until a worker has removed them.',
                    v_max
                )
            );
        end if;
        return v_client_hash;
    end
    $$;

-- Return an idempotency key as it is stored: the keys of the service never equal those of users and visitors.
create function smelt.stored_key(p_caller smelt.caller, p_key text) returns text
    language sql immutable
    set search_path = ''
    as $$ select case when p_caller.is_service then 'service ' || p_key else p_key end $$;

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
            and p_key !~* '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
        then
            -- Visitors share one namespace: a key that could be guessed would return the smelt of another visitor.
            perform smelt.raise_rejection(
                'invalid_request', 'Without a sign-in, an idempotency key must be a random UUID (version 4).'
            );
        end if;
        perform pg_advisory_xact_lock(
            hashtextextended(format('smelt key %s %s', p_caller.user_id, p_key), 0)
        );
        select r.* into v_request
        from smelt.requests as r
        where r.user_id is not distinct from p_caller.user_id and r.idempotency_key = smelt.stored_key(p_caller, p_key);
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
            id, user_id, is_anonymous, batch_id, mode, default_prompt_names, user_prompt_id, options, metadata,
            audio_state, submitted_at, claimable_at, queue_rank
        )
        values (
            p_smelt.id, p_smelt.user_id, p_smelt.is_anonymous, p_smelt.batch_id, p_smelt.mode,
            p_smelt.default_prompt_names, p_smelt.user_prompt_id, p_smelt.options, p_smelt.metadata,
            case when v_text is null then 'expected' else 'none' end,
            p_smelt.submitted_at, p_smelt.submitted_at,
            case
                when p_smelt.submitted_at is not null then
                    smelt.next_rank(
                        smelt.queue_owner(p_smelt.user_id, p_smelt.is_anonymous),
                        coalesce(p_smelt.options ->> 'model', '')
                    )
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

-- Check a request and create the smelt; return the existing one if the same request was made with the same key. A text
-- that was created with that key without submission is submitted now, unless this call does not submit it either.
create function smelt.create_smelt(
    p_files jsonb, p_text text, p_mode text, p_prompt_names text[], p_user_prompt_id uuid, p_batch_id uuid, p_key text,
    p_options jsonb, p_metadata jsonb, p_user_id uuid, p_submit boolean
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_caller constant smelt.caller := smelt.creator(p_user_id);
        v_files constant jsonb := coalesce(p_files, '[]');
        v_options constant jsonb := coalesce(p_options, '{}');
        v_metadata constant jsonb := coalesce(p_metadata, '{}');
        v_smelt public.smelts;
        v_request smelt.requests;
    begin
        perform smelt.check_shape(v_files, p_mode);
        v_request.fingerprint := encode(sha256(convert_to(jsonb_build_array(
            v_files, p_text, p_mode, p_prompt_names, p_user_prompt_id, p_batch_id, v_options, v_metadata
        )::text, 'UTF8')), 'hex');
        v_request.smelt_id := smelt.find_idempotent_smelt(v_caller, p_key, v_request.fingerprint);
        if v_request.smelt_id is not null then
            if coalesce(p_submit, true) and v_files = '[]' then
                perform smelt.submit_smelt(v_request.smelt_id);
            end if;
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
        v_smelt.options := smelt.check_options(v_options, v_files = '[]');
        v_smelt.metadata := v_metadata;
        perform smelt.check_metadata(v_metadata);
        if v_files = '[]' and v_smelt.default_prompt_names = '{}' and p_user_prompt_id is null then
            perform smelt.raise_rejection('invalid_request', 'A text without prompts has nothing to do.');
        end if;
        v_request.smelt_id := v_smelt.id;
        v_request.user_id := v_caller.user_id;
        v_request.client_hash := smelt.reserve_open_slot(
            v_caller.user_id, v_caller.is_anonymous, v_caller.is_service
        );
        v_request.idempotency_key := smelt.stored_key(v_caller, p_key);
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
-- `smelt-audio`, and the private channel of the smelt. A smelt of files waits for `submit_smelt`; a text only if
-- `submit` is false, and until a repetition with the same `idempotency_key` submits it. An empty list of
-- `default_prompt_names` makes the transcript the result. `metadata` is the app's own. The service may create a smelt
-- for the user `user_id`.
create function public.create_smelt(
    files jsonb default '[]',
    text_input text default null,
    mode text default 'separate',
    default_prompt_names text[] default null,
    user_prompt_id uuid default null,
    batch_id uuid default null,
    idempotency_key text default null,
    options jsonb default '{}',
    metadata jsonb default '{}',
    user_id uuid default null,
    submit boolean default true
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.create_smelt(
            create_smelt.files, create_smelt.text_input, create_smelt.mode, create_smelt.default_prompt_names,
            create_smelt.user_prompt_id, create_smelt.batch_id, create_smelt.idempotency_key, create_smelt.options,
            create_smelt.metadata, create_smelt.user_id, create_smelt.submit
        )
    $$;

-- Create a batch; `create_smelt` adds smelts to it by its id.
create function public.create_smelt_batch(title text default null) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.create_smelt_batch(create_smelt_batch.title) $$;

revoke all on function
    smelt.check_shape, smelt.check_input, smelt.check_file, smelt.check_prompt_names, smelt.reject_option,
    smelt.has_control_characters, smelt.trimmed, smelt.check_vocabulary, smelt.check_option, smelt.check_options,
    smelt.check_metadata, smelt.creator, smelt.find_user_prompt, smelt.check_batch, smelt.reserve_open_slot,
    smelt.stored_key, smelt.find_idempotent_smelt, smelt.upload_path, smelt.insert_files, smelt.creation_response,
    smelt.insert_smelt, smelt.create_smelt, smelt.create_smelt_batch, public.create_smelt, public.create_smelt_batch
    from public, anon, authenticated, service_role;
grant execute on function smelt.create_smelt, public.create_smelt to anon, authenticated, service_role;
grant execute on function smelt.create_smelt_batch, public.create_smelt_batch to authenticated;
