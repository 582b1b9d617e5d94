-- A new checkpoint, a new segment or a finished transcript resets the failure count; nothing else does.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_file uuid;
    v_claim jsonb;
    v_gain record;
begin
    for v_gain in
        select * from (values
            ('{"checkpoint": {"at": 1}}'::jsonb, '{}'::jsonb, true),
            ('{"checkpoint": {"at": 2}}', '{}', true),
            ('{"checkpoint": {"at": 2}, "progress": 30}', '{}', false),
            ('{"checkpoint": {"at": 3}}', '{"index": 0, "start": 0, "end": 1, "text": "hello"}', true),
            ('{"progress": 50}', '{"index": 1, "start": 1, "end": 2, "text": "there"}', true),
            ('{"progress": 60}', '{"index": 1, "start": 1, "end": 2, "text": "world"}', false),
            ('{"transcribed": true}', '{}', true)
        ) as g (file, segment, is_gain)
    loop
        perform pg_temp.expire_leases();
        v_claim := pg_temp.claim();
        v_file := v_claim -> 'files' -> 0 ->> 'id';
        perform pg_temp.become('service_role');
        perform public.report_smelt_progress(
            v_id, (v_claim ->> 'attempt')::bigint,
            files => jsonb_build_array(v_gain.file || jsonb_build_object('id', v_file)),
            segments => case when v_gain.segment = '{}' then '[]' else
                jsonb_build_array(v_gain.segment || jsonb_build_object('file_id', v_file)) end
        );
        assert ((pg_temp.smelt(v_id)).failure_count = 0) = v_gain.is_gain, v_gain;
    end loop;
end
$$;
