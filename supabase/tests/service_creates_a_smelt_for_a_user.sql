-- The service creates a smelt for a user, who then owns it: with the limits, prompts, batches and keys of the user.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_guest uuid;
    v_other constant uuid := pg_temp.given_user();
    v_batch uuid;
    v_other_batch uuid;
    v_prompt uuid;
    v_other_prompt uuid;
    v_created jsonb;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_other);
    v_other_batch := public.create_smelt_batch() ->> 'id';
    insert into public.smelt_prompts (name, content) values ('theirs', 'Shorten.') returning id into v_other_prompt;
    perform pg_temp.become('authenticated', v_user);
    v_batch := public.create_smelt_batch() ->> 'id';
    insert into public.smelt_prompts (name, content) values ('mine', 'Shorten.') returning id into v_prompt;
    perform pg_temp.become('postgres');
    insert into auth.users (email, is_anonymous) values (null, true) returning id into v_guest;

    perform pg_temp.become('service_role');
    v_created := public.create_smelt(
        text_input => 'notes', user_id => v_user, batch_id => v_batch, user_prompt_id => v_prompt,
        idempotency_key => 'key'
    );
    assert pg_temp.rejection(format(
        'select public.create_smelt(text_input => ''notes'', user_id => %L, batch_id => %L)', v_user, v_other_batch
    )) = 'PT404 not_found';
    assert pg_temp.rejection(format(
        'select public.create_smelt(text_input => ''notes'', user_id => %L, user_prompt_id => %L)',
        v_user, v_other_prompt
    )) = 'PT400 prompt_not_found';
    assert pg_temp.rejection(
        'select public.create_smelt(text_input => ''notes'', user_id => gen_random_uuid())'
    ) = 'PT400 invalid_request';
    -- A key of the service is none of the user, and the other way around.
    assert public.create_smelt(text_input => 'notes', idempotency_key => 'key', submit => false) -> 'id'
        <> v_created -> 'id';
    -- A guest has the limits of a guest.
    assert pg_temp.rejection(format(
        'select public.create_smelt(files => pg_temp.recordings(2), user_id => %L)', v_guest
    )) = 'PT400 too_many_files';
    assert pg_temp.rejection(format(
        'select public.create_smelt(files => pg_temp.recordings(2), mode => ''combine'', user_id => %L)', v_guest
    )) = 'PT403 combine_requires_auth';

    perform pg_temp.become('authenticated', v_user);
    assert public.create_smelt(
        text_input => 'notes', batch_id => v_batch, user_prompt_id => v_prompt, idempotency_key => 'key'
    ) = v_created, 'the key is that of the user';
    assert (select array_agg(id) = array[(v_created ->> 'id')::uuid] from public.smelts), 'its row is readable';
    perform pg_temp.become('postgres');
    assert (
        select s.user_id = v_user and s.queue_owner = v_user and not s.is_anonymous
        from public.smelts as s
        where s.id = (v_created ->> 'id')::uuid
    );
    v_claim := pg_temp.claim();
    assert v_claim ->> 'user_id' = v_user::text and v_claim ->> 'batch_id' = v_batch::text, v_claim;
    perform pg_temp.become('service_role');
    perform public.complete_smelt(
        (v_claim ->> 'id')::uuid, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim)
    );
    perform pg_temp.become('authenticated', v_user);
    assert (select count(*) = 1 from public.smelt_notifications where smelt_id = (v_created ->> 'id')::uuid);

    perform pg_temp.become('postgres');
    update smelt.limits set max_open = 1;
    perform pg_temp.become('service_role');
    perform public.create_smelt(text_input => 'notes', user_id => v_user);
    assert pg_temp.rejection(format('select public.create_smelt(text_input => ''notes'', user_id => %L)', v_user))
        = 'PT429 too_many_open';
    perform public.create_smelt(text_input => 'notes');
end
$$;

-- Everybody else may only name themselves.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
begin
    perform pg_temp.become('authenticated', v_user);
    perform public.create_smelt(text_input => 'notes', user_id => v_user);
    assert pg_temp.rejection(format('select public.create_smelt(text_input => ''notes'', user_id => %L)', v_other))
        = 'PT403 not_allowed';
    assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'', user_id => gen_random_uuid())')
        = 'PT403 not_allowed', 'the same for a user who does not exist';
    perform pg_temp.become('anon');
    assert pg_temp.rejection(format('select public.create_smelt(text_input => ''notes'', user_id => %L)', v_user))
        = 'PT403 not_allowed';
end
$$;
