-- While one worker purges, the others get an empty list. The next one purges when the first one got an empty list, when
-- it leaves, or when its lease expires.
do $$
declare
    v_nothing constant jsonb := '{"objects": [], "smelts": []}';
    v_smelt constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_list jsonb;
begin
    perform pg_temp.become('postgres');
    perform set_config('storage.allow_delete_query', 'true', true);
    delete from storage.objects;
    update public.smelts set audio_state = 'removing' where id = v_smelt;
    perform pg_temp.become('service_role');
    v_list := public.list_expired_smelts('one');
    assert v_list -> 'smelts' = jsonb_build_array(v_smelt), v_list;
    assert public.list_expired_smelts('two') = v_nothing, 'one has the lease';
    assert public.list_expired_smelts('one') = v_list, 'the holder gets its list again';

    perform public.heartbeat_smelt_worker('one', '{}', leaving => true);
    assert public.list_expired_smelts('two') = v_list, 'one has left';
    perform public.heartbeat_smelt_worker('one', '{}', leaving => true);
    assert public.list_expired_smelts('one') = v_nothing, 'a worker without the lease cannot release it';

    assert public.list_expired_smelts('two', lease_s => 0) = v_list;
    assert public.list_expired_smelts('one') = v_list, 'the lease of two has expired';

    perform pg_temp.become('postgres');
    update public.smelts set audio_state = 'removed' where id = v_smelt;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('one') = v_nothing;
    perform pg_temp.become('postgres');
    update public.smelts set audio_state = 'removing' where id = v_smelt;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('two') = v_list, 'the empty list released the lease of one';
end
$$;
