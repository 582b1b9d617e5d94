-- The same request with the same key returns the same smelt; another request is a conflict. Keys belong to a user.
do $$
declare
    v_created jsonb;
    v_key constant text := gen_random_uuid();
begin
    perform pg_temp.become('authenticated', pg_temp.given_user());
    v_created := public.create_smelt(files => pg_temp.recordings(2), idempotency_key => 'monday');
    assert public.create_smelt(files => pg_temp.recordings(2), idempotency_key => 'monday') = v_created;
    assert pg_temp.rejection(
        'select public.create_smelt(files => pg_temp.recordings(3), idempotency_key => ''monday'')'
    ) = 'PT409 idempotency_conflict';
    perform pg_temp.become('authenticated', pg_temp.given_user());
    assert public.create_smelt(files => pg_temp.recordings(2), idempotency_key => 'monday') ->> 'id'
        <> v_created ->> 'id';

    perform pg_temp.become('anon');
    assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'', idempotency_key => ''monday'')')
        = 'PT400 invalid_request';
    v_created := public.create_smelt(text_input => 'notes', idempotency_key => v_key);
    assert public.create_smelt(text_input => 'notes', idempotency_key => v_key) = v_created;
    perform public.delete_smelt((v_created ->> 'id')::uuid);
    assert public.create_smelt(text_input => 'notes', idempotency_key => v_key) ->> 'id' <> v_created ->> 'id';
end
$$;

-- A text that a call with the key did not submit is submitted by a repetition that does.
do $$
declare
    v_id uuid;
    v_is_submitted boolean[] := '{}';
    v_submit boolean;
begin
    perform pg_temp.become('authenticated', pg_temp.given_user());
    foreach v_submit in array array[false, false, true, false] loop
        v_id := public.create_smelt(text_input => 'notes', idempotency_key => 'friday', submit => v_submit) ->> 'id';
        v_is_submitted := v_is_submitted || ((pg_temp.smelt(v_id)).queue_rank is not null);
    end loop;
    assert v_is_submitted = '{f,f,t,t}', v_is_submitted;
end
$$;

-- Options and metadata are part of the request.
do $$
declare
    v_created jsonb;
    v_change text;
begin
    perform pg_temp.become('authenticated', pg_temp.given_user());
    v_created := public.create_smelt(
        files => pg_temp.recordings(1), options => '{"language": "de", "task": "translate"}',
        metadata => '{"a": 1, "b": 2}', idempotency_key => 'monday'
    );
    assert v_created = public.create_smelt(
        files => pg_temp.recordings(1), options => '{"task": "translate", "language": "de"}',
        metadata => '{"b": 2, "a": 1}', idempotency_key => 'monday'
    );
    foreach v_change in array array[
        'options => ''{"language": "de"}'', metadata => ''{"a": 1, "b": 2}''',
        'options => ''{"language": "de", "task": "translate"}'', metadata => ''{"a": 1}'''
    ] loop
        assert pg_temp.rejection(format(
            'select public.create_smelt(files => pg_temp.recordings(1), idempotency_key => ''monday'', %s)', v_change
        )) = 'PT409 idempotency_conflict', v_change;
    end loop;
end
$$;

-- Visitors share one namespace, in which only random keys are accepted; the service has another one.
do $$
declare
    v_key constant text := gen_random_uuid();
    v_created jsonb;
    v_guessable text;
begin
    perform pg_temp.become('anon');
    v_created := public.create_smelt(files => pg_temp.recordings(1), idempotency_key => v_key);
    foreach v_guessable in array array[
        'monday', '00000000-0000-0000-0000-000000000000', '6ba7b810-9dad-11d1-80b4-00c04fd430c8',
        '886313e1-3b8a-5372-9b90-0c9aee199e5d'
    ] loop
        assert pg_temp.rejection(format(
            'select public.create_smelt(files => pg_temp.recordings(1), idempotency_key => %L)', v_guessable
        )) = 'PT400 invalid_request', v_guessable;
    end loop;

    perform pg_temp.become('service_role');
    assert public.create_smelt(files => pg_temp.recordings(1), idempotency_key => v_key) ->> 'id' <> v_created ->> 'id';
    assert public.create_smelt(files => pg_temp.recordings(1), idempotency_key => v_key)
        = public.create_smelt(files => pg_temp.recordings(1), idempotency_key => v_key);
end
$$;
