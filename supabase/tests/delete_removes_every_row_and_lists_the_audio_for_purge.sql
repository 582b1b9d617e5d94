-- Deleting removes every row of a smelt and lists its audio for purge; watchers of an open one see it cancelled.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_batch uuid;
    v_id uuid;
    v_claim jsonb;
    v_swept jsonb;
    v_table record;
    v_count bigint;
begin
    perform pg_temp.become('authenticated', v_user);
    v_batch := public.create_smelt_batch() ->> 'id';
    v_id := pg_temp.given_smelt(v_user, 2, v_batch);
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint, 'transcribing', files => jsonb_build_array(
            jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'checkpoint', '{"at": 1}'::jsonb)
        )
    );
    perform pg_temp.become('authenticated', v_user);
    assert public.delete_smelt(v_id) = '{"deleted": true}';
    assert pg_temp.rejection(format('select public.get_smelt(%L)', v_id)) = 'PT404 not_found';
    perform pg_temp.become('postgres');
    for v_table in
        select c.oid::regclass as name
        from pg_catalog.pg_attribute as a join pg_catalog.pg_class as c on c.oid = a.attrelid
        where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace)
            and a.attname in ('smelt_id', 'file_id') and not a.attisdropped
    loop
        execute format('select count(*) from %s where %s', v_table.name, case v_table.name::text
            when 'smelt.outbox' then format('smelt_id = %L', v_id) else 'true' end) into v_count;
        assert v_count = 0, v_table;
    end loop;
    assert exists (select from realtime.messages where topic = 'smelt:' || v_id and event = 'failed');
    assert not exists (
        select from realtime.messages where topic = 'smelt-notifications:' || v_user
    ), 'a notification would keep the names of the files';
    assert (select total = 0 from public.smelt_batches where id = v_batch);
    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint) ->> 'verdict' = 'lost';
    assert public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, '[]') = '{"verdict": "lost"}';
    v_swept := public.list_expired_smelts('janitor');
    assert jsonb_array_length(v_swept -> 'objects') = 2, v_swept;
    assert v_swept -> 'objects' -> 0 ->> 'smelt_id' = v_id::text, v_swept;
end
$$;
