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
