-- Anonymous smelts are deleted a day after their end, unsubmitted ones a day after their creation.
do $$
declare
    v_ended constant uuid := pg_temp.given_smelt(null);
    v_kept constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_created jsonb;
    v_list jsonb;
begin
    perform pg_temp.become('anon');
    perform public.cancel_smelt(v_ended);
    v_created := public.create_smelt(files => pg_temp.recordings(1));
    perform pg_temp.upload(v_created);
    perform pg_temp.become('postgres');
    update public.smelts set completed_at = now() - interval '25 h' where id = v_ended;
    update public.smelts set created_at = now() - interval '25 h' where id in (v_kept, (v_created ->> 'id')::uuid);
    perform pg_temp.become('service_role');
    v_list := public.list_expired_smelts('janitor');
    assert jsonb_array_length(v_list -> 'objects') = 2 and jsonb_array_length(v_list -> 'smelts') = 2, v_list;
    assert not v_list -> 'smelts' ? v_kept::text, v_list;
    perform pg_temp.become('anon');
    assert pg_temp.rejection(format('select public.submit_smelt(%L)', v_created ->> 'id')) = 'PT410 audio_expired';
    perform pg_temp.become('postgres');
    perform set_config('storage.allow_delete_query', 'true', true);
    delete from storage.objects where name = any (
        select o ->> 'path' from jsonb_array_elements(v_list -> 'objects') as o
    );
    perform pg_temp.become('service_role');
    assert public.confirm_smelts_purged(
        array(select o ->> 'path' from jsonb_array_elements(v_list -> 'objects') as o),
        array(select id::uuid from jsonb_array_elements_text(v_list -> 'smelts') as id)
    ) = '{"purged": 4, "failed": []}';
    perform pg_temp.become('postgres');
    assert (select array_agg(id) = array[v_kept] from public.smelts);
end
$$;
