-- No role, the service and the owner of the database included, stores more than was announced, or for a smelt that is
-- submitted or has ended: by an insert, an upsert, a copy or a move. Objects of other buckets, and changes that neither
-- enlarge nor move an object, are not restricted.
do $$
declare
    v_owner constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_path text;
    v_insert text;
    v_role text;
begin
    perform pg_temp.become('authenticated', v_owner);
    v_created := public.create_smelt(files => pg_temp.recordings(1));
    v_path := v_created -> 'files' -> 0 ->> 'upload_path';
    v_insert := format(
        'insert into storage.objects (bucket_id, name, metadata) values (''smelt-audio'', %L, $1)', v_path
    );
    foreach v_role in array array['authenticated', 'service_role', 'postgres'] loop
        perform pg_temp.become(v_role, v_owner);
        assert pg_temp.rejection(replace(v_insert, '$1', '''{"size": 1000}''')) is null, v_role;
        assert pg_temp.rejection(replace(v_insert, '$1', '''{"size": 1001}''')) = '42501', v_role;
        -- Before the upload: the length may be unknown, and that of a form is greater than that of its file.
        assert pg_temp.rejection(replace(v_insert, '$1', 'null')) is null, v_role;
        assert pg_temp.rejection(replace(v_insert, '$1', '''{"contentLength": 1500}''')) is null, v_role;
        assert pg_temp.rejection(replace(v_insert, '$1', '''{"contentLength": 70000}''')) = '42501', v_role;
    end loop;

    perform pg_temp.become('postgres');
    assert pg_temp.rejection(replace(replace(v_insert, v_path, v_path || 'x'), '$1', 'null')) = '42501', 'unannounced';
    insert into storage.buckets (id, name) values ('elsewhere', 'elsewhere');
    insert into storage.objects (bucket_id, name, metadata) values
        ('elsewhere', 'large', '{"size": 1001}'), ('elsewhere', 'small', '{"size": 900}');
    v_insert := format('update storage.objects set bucket_id = ''smelt-audio'', name = %L where name = $1', v_path);
    assert pg_temp.rejection(replace(v_insert, '$1', '''large''')) = '42501', 'move';
    execute replace(v_insert, '$1', '''small''');
    assert pg_temp.rejection('update storage.objects set metadata = ''{"size": 1001}''') = '42501', 'replacement';

    perform pg_temp.become('authenticated', v_owner);
    perform public.submit_smelt((v_created ->> 'id')::uuid);
    perform pg_temp.become('postgres');
    assert pg_temp.rejection('update storage.objects set metadata = ''{"size": 950}'' where name <> ''large''')
        = '42501';
    assert pg_temp.rejection('update storage.objects set name = name || ''x'' where name <> ''large''') = '42501';
    update storage.objects
    set last_accessed_at = now(), metadata = metadata || '{"mimetype": "audio/mpeg"}', bucket_id = bucket_id;
    update storage.objects set bucket_id = 'elsewhere';

    perform pg_temp.become('authenticated', v_owner);
    v_created := public.create_smelt(files => pg_temp.recordings(1));
    perform public.cancel_smelt((v_created ->> 'id')::uuid);
    perform pg_temp.become('service_role');
    v_insert := 'insert into storage.objects (bucket_id, name) values (''smelt-audio'', %L)';
    assert pg_temp.rejection(format(v_insert, v_created -> 'files' -> 0 ->> 'upload_path')) = '42501', 'cancelled';
end
$$;
