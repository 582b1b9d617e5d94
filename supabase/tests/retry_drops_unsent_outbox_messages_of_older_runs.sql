-- A retry deletes unsent events of older runs; the stored notification stays.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim();
begin
    perform pg_temp.become('service_role');
    perform public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'internal_error');
    perform pg_temp.become('postgres');
    assert (select count(*) = 2 from smelt.outbox where smelt_id = v_id);
    perform pg_temp.become('authenticated', v_user);
    perform public.retry_smelt(v_id);
    perform pg_temp.become('postgres');
    assert not exists (select from smelt.outbox where smelt_id = v_id);
    assert (select count(*) = 1 from public.smelt_notifications where smelt_id = v_id);
    assert exists (
        select from realtime.messages
        where topic = 'smelt:' || v_id and event = 'progress' and payload ->> 'run' = '2'
            and payload ->> 'status' = 'pending'
    ), 'the new run is broadcast';
end
$$;
