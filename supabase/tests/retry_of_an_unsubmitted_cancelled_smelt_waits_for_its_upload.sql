-- A smelt that was cancelled before its upload waits for the upload again after a retry.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_id uuid;
begin
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(files => pg_temp.recordings(1));
    v_id := v_created ->> 'id';
    assert public.cancel_smelt(v_id) ->> 'status' = 'failed';
    assert public.submit_smelt(v_id) ->> 'status' = 'failed';
    assert public.retry_smelt(v_id) ->> 'submitted_at' is null;
    assert pg_temp.claim() is null;
    perform pg_temp.upload(v_created);
    perform pg_temp.become('authenticated', v_user);
    assert public.submit_smelt(v_id) ->> 'submitted_at' is not null;
    assert (pg_temp.claim() ->> 'id')::uuid = v_id;
end
$$;
