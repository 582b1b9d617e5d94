-- The audio of a completed smelt is listed at once, and confirmed once it is removed; that of a failed one after a day.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_done constant uuid := pg_temp.given_smelt(v_user);
    v_claim jsonb := pg_temp.claim();
    v_failed uuid;
    v_list jsonb;
    v_path text;
begin
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') = '{"objects": [], "smelts": []}', public.list_expired_smelts();
    perform public.complete_smelt(v_done, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
    v_failed := pg_temp.given_smelt(v_user);
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.fail_smelt(v_failed, (v_claim ->> 'attempt')::bigint, 'internal_error');

    v_list := public.list_expired_smelts('janitor');
    v_path := v_list -> 'objects' -> 0 ->> 'path';
    assert jsonb_array_length(v_list -> 'objects') = 1 and v_list -> 'smelts' = jsonb_build_array(v_done), v_list;
    assert public.confirm_smelts_purged(array[v_path], array[v_done]) = jsonb_build_object(
        'purged', 0,
        'failed', jsonb_build_array(
            jsonb_build_object('smelt_id', v_done, 'error', format('the object %s still exists', v_path))
        )
    );
    perform pg_temp.become('postgres');
    assert exists (select from smelt.purge_failures as f where f.smelt_id = v_done);
    assert (pg_temp.smelt(v_done)).audio_state = 'removing', 'an existing object is not confirmed';
    perform pg_temp.become('postgres');
    perform set_config('storage.allow_delete_query', 'true', true);
    delete from storage.objects where name = v_path;
    perform pg_temp.become('service_role');
    assert public.confirm_smelts_purged(array[v_path], array[v_done]) = '{"purged": 2, "failed": []}';
    assert (pg_temp.smelt(v_done)).audio_state = 'removed';
    perform pg_temp.become('postgres');
    assert not exists (select from smelt.purge_failures);
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') = '{"objects": [], "smelts": []}';

    perform pg_temp.become('postgres');
    update public.smelts set completed_at = completed_at - interval '25 h' where id = v_failed;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') -> 'smelts' = jsonb_build_array(v_failed);
    perform pg_temp.become('authenticated', v_user);
    assert pg_temp.rejection(format('select public.retry_smelt(%L)', v_failed)) = 'PT410 audio_expired';
    assert public.retry_smelt(v_done) ->> 'status' = 'completed', 'a complete smelt stays complete';
end
$$;
