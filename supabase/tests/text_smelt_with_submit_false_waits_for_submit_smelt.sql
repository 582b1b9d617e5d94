-- A text that is created with `submit => false` wakes no worker and is not claimable until `submit_smelt`.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(text_input => 'Rough notes', submit => false) ->> 'id';
    assert public.get_smelt(v_id) -> 'submitted_at' = 'null';
    assert public.retry_smelt(v_id) -> 'submitted_at' = 'null';
    perform pg_temp.become('postgres');
    assert not exists (select from realtime.messages where topic = 'smelt-workers');
    assert pg_temp.claim() is null;
    perform pg_temp.become('authenticated', v_user);
    assert public.submit_smelt(v_id) ->> 'submitted_at' is not null;
    perform pg_temp.become('postgres');
    assert (select count(*) = 1 from realtime.messages where topic = 'smelt-workers');
    v_claim := pg_temp.claim();
    assert v_claim ->> 'text_input' = 'Rough notes', v_claim;
    assert (pg_temp.smelt(v_id)).audio_state = 'none';
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(text_input => 'Later notes', submit => false) ->> 'id';
    perform pg_temp.become('postgres');
    update public.smelts set created_at = now() - interval '25 h' where id = v_id;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') -> 'smelts' = jsonb_build_array(v_id);
    assert public.confirm_smelts_purged('{}', array[v_id]) ->> 'purged' = '1';
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).id is null;
end
$$;
