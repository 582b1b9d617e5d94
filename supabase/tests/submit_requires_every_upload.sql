-- `submit_smelt` requires every announced file, none larger than announced; it records versions and wakes the workers.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_call text;
    v_state jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(files => pg_temp.recordings(2));
    v_call := format('select public.submit_smelt(%L)', v_created ->> 'id');
    assert pg_temp.rejection(v_call) = 'PT409 missing_upload', pg_temp.rejection(v_call);
    perform pg_temp.upload(v_created);
    perform pg_temp.become('postgres');
    update public.smelt_files set size_bytes = 999;
    perform pg_temp.become('authenticated', v_user);
    assert pg_temp.rejection(v_call) = 'PT413 file_too_large', pg_temp.rejection(v_call);
    perform pg_temp.become('postgres');
    update storage.objects set metadata = '{"size": 900}';
    perform pg_temp.become('authenticated', v_user);
    v_state := public.submit_smelt((v_created ->> 'id')::uuid);
    assert v_state ->> 'queue_position' = '1' and v_state -> 'files' -> 0 ->> 'size_bytes' = '900', v_state;
    assert public.submit_smelt((v_created ->> 'id')::uuid) -> 'seq' = v_state -> 'seq', 'a second call changes nothing';
    perform pg_temp.become('postgres');
    assert not exists (
        select from public.smelt_files as f join storage.objects as o on o.name = f.upload_path
        where f.object_version is distinct from o.version
    );
    set constraints all immediate;
    assert exists (select from realtime.messages where topic = 'smelt-workers');
end
$$;
