-- Deleting a user removes all rows of the user; the audio is listed for purge.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_batch uuid;
    v_id uuid;
    v_count bigint;
begin
    perform pg_temp.become('authenticated', v_user);
    v_batch := public.create_smelt_batch() ->> 'id';
    v_id := pg_temp.given_smelt(v_user, 1, v_batch);
    perform pg_temp.become('authenticated', v_user);
    perform public.cancel_smelt(v_id);
    perform pg_temp.become('postgres');
    delete from auth.users where id = v_user;
    select (select count(*) from public.smelts) + (select count(*) from public.smelt_batches)
        + (select count(*) from public.smelt_notifications) into v_count;
    assert v_count = 0;
    perform pg_temp.become('service_role');
    assert jsonb_array_length(public.list_expired_smelts('janitor') -> 'objects') = 1;
end
$$;
