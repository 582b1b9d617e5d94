-- A visitor uploads to a smelt without an owner by the path, which only its creator knows, and reads no audio.
do $$
declare
    v_created jsonb;
    v_insert text;
    v_count bigint;
begin
    perform pg_temp.become('anon');
    v_created := public.create_smelt(files => pg_temp.recordings(1));
    v_insert := format(
        'insert into storage.objects (bucket_id, name) values (''smelt-audio'', %L)',
        v_created -> 'files' -> 0 ->> 'upload_path'
    );
    assert pg_temp.rejection(v_insert) is null;
    perform pg_temp.upload(v_created);
    perform pg_temp.become('anon');
    select count(*) into v_count from storage.objects;
    assert v_count = 0;
    perform public.cancel_smelt((v_created ->> 'id')::uuid);
    assert pg_temp.rejection(v_insert) = '42501';
end
$$;
