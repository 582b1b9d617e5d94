-- Storage accepts only announced objects of an unsubmitted smelt of the caller, once; clients never overwrite or remove
-- one.
do $$
declare
    v_owner constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_path text;
    v_insert text;
    v_count bigint;
begin
    perform pg_temp.become('authenticated', v_owner);
    v_created := public.create_smelt(files => '[{"filename": "../Besprechung März 2.mp3", "size_bytes": 1000}]');
    v_path := v_created -> 'files' -> 0 ->> 'upload_path';
    assert v_path = format(
        '%s/%s/_Besprechung_M_rz_2.mp3', v_created ->> 'id', v_created -> 'files' -> 0 ->> 'id'
    ), v_path;
    v_insert := format('insert into storage.objects (bucket_id, name) values (''smelt-audio'', %L)', v_path);
    assert pg_temp.rejection(v_insert) is null;
    assert pg_temp.rejection(v_insert || '||''x''') is not null;
    assert pg_temp.rejection(replace(v_insert, v_path, v_path || '.mp3')) = '42501';
    perform pg_temp.become('authenticated', v_other);
    assert pg_temp.rejection(v_insert) = '42501';
    perform pg_temp.become('anon');
    assert pg_temp.rejection(v_insert) = '42501';

    perform pg_temp.upload(v_created);
    perform pg_temp.become('authenticated', v_owner);
    select count(*) into v_count from storage.objects;
    assert v_count = 1, 'the owner can read the recording';
    assert pg_temp.rejection(v_insert || ' on conflict (bucket_id, name) do update set version = ''2''') = '42501';
    update storage.objects set version = '2';
    get diagnostics v_count = row_count;
    assert v_count = 0;
    perform set_config('storage.allow_delete_query', 'true', true);
    delete from storage.objects;
    get diagnostics v_count = row_count;
    assert v_count = 0;
    perform public.submit_smelt((v_created ->> 'id')::uuid);
    assert pg_temp.rejection(v_insert) = '42501';
    -- An upload that ends after the submission: Storage writes its row as the service.
    perform pg_temp.become('postgres');
    assert pg_temp.rejection(format('update storage.objects set version = ''2'' where name = %L', v_path)) = '42501';
    assert pg_temp.rejection(format('update storage.objects set last_accessed_at = now() where name = %L', v_path)) is null;
    perform pg_temp.become('authenticated', v_other);
    select count(*) into v_count from storage.objects;
    assert v_count = 0, 'no other user can';
end
$$;
