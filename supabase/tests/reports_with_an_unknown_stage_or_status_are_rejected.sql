-- A report with an unknown or terminal status, or with an unknown status or stage of a file, is rejected and changes
-- nothing.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_before constant public.smelts := pg_temp.smelt(v_id);
    v_case record;
    v_rejection text;
begin
    perform pg_temp.become('service_role');
    for v_case in
        select * from (values
            ('polishing', '{}'::jsonb), ('completed', '{}'), ('failed', '{}'), ('', '{}'),
            (null, '{"stage": "polishing"}'), (null, '{"stage": "completed"}'), (null, '{"status": "finished"}'),
            ('decoding', '{"stage": "decoding", "status": "half"}')
        ) as c (status, file)
    loop
        v_rejection := pg_temp.rejection(format(
            'select public.report_smelt_progress(%L, %L, %L, files => %L)',
            v_id, v_claim ->> 'attempt', v_case.status,
            jsonb_build_array(v_case.file || jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id'))
        ));
        assert v_rejection = 'PT400 invalid_request', format('%s: %s', v_case, v_rejection);
    end loop;
    perform pg_temp.become('postgres');
    assert pg_temp.smelt(v_id) is not distinct from v_before;
    assert (select (status, stage) = ('pending', 'pending') from public.smelt_files where smelt_id = v_id);
end
$$;
