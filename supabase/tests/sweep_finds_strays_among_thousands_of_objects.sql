-- Each call checks the next 2,000 objects of the bucket. A stray after them is found by a later call, many strays by as
-- many calls as needed, and after the last object the sweep starts again.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
    v_stray constant text := 'ffffffff-ffff-4fff-bfff-ffffffffffff/' || gen_random_uuid() || '/late.mp3';
    v_first constant text := '00000000-0000-4000-8000-000000000000/' || gen_random_uuid() || '/';
    v_found text[];
begin
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(files => pg_temp.recordings(1)) ->> 'id';
    perform pg_temp.become('postgres');
    insert into public.smelt_files (smelt_id, user_id, position, filename, input_type, size_bytes, upload_path)
    select v_id, v_user, n, n || '.mp3', 'audio', 1, v_id || '/' || gen_random_uuid() || '/' || n || '.mp3'
    from generate_series(1, 2500) as n
    union all
    select v_id, v_user, 3000 + n, n || '.mp3', 'audio', 1, case n when 0 then v_stray else v_first || n end
    from generate_series(0, 5) as n;
    insert into storage.objects (bucket_id, name)
    select 'smelt-audio', f.upload_path from public.smelt_files as f where f.position between 1 and 3000;
    delete from public.smelt_files where position = 3000;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') -> 'objects' = '[]';
    assert public.list_expired_smelts('janitor') -> 'objects' -> 0 ->> 'path' = v_stray;
    assert public.list_expired_smelts('janitor') -> 'objects' = '[]', 'the sweep has started again';

    perform pg_temp.become('postgres');
    insert into storage.objects (bucket_id, name)
    select 'smelt-audio', f.upload_path from public.smelt_files as f where f.position > 3000;
    delete from public.smelt_files where position > 3000;
    update smelt.janitor set swept_to = null;
    perform pg_temp.become('service_role');
    for i in 1..3 loop
        v_found := v_found || array(
            select o ->> 'path' from jsonb_array_elements(public.list_expired_smelts('janitor', 2) -> 'objects') as o
        );
    end loop;
    assert v_found = array(select v_first || n from generate_series(1, 5) as n), v_found;
end
$$;
