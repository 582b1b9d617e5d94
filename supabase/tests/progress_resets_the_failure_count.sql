-- A new segment, a finished transcript, or a position in transcribing or synthesizing beyond all earlier ones resets
-- the failure count; nothing else does. A checkpoint alone is none: a worker in another mode replaces it by an earlier
-- one.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_file uuid;
    v_claim jsonb;
    v_gain record;
begin
    update smelt.limits set retry_base_s = 0, max_failures = 100, max_failures_on_one_host = 100;
    v_claim := pg_temp.claim();
    for v_gain in
        select * from (values
            ('{"stage": "decoding", "progress": 18}'::jsonb, '{}'::jsonb, false),
            ('{"stage": "transcribing", "progress": 20}', '{}', false),
            ('{"checkpoint": {"mode": "sequential", "at": 1}}', '{}', false),
            ('{"checkpoint": {"mode": "batched", "at": 1}}', '{}', false),
            ('{"stage": "transcribing", "progress": 20.1}', '{}', true),
            ('{"stage": "transcribing", "progress": 30, "checkpoint": {"at": 2}}', '{}', true),
            ('{"stage": "transcribing", "progress": 29, "checkpoint": {"at": 3}}', '{}', false),
            ('{"stage": "transcribing", "progress": 30}', '{}', false),
            ('{"checkpoint": {"at": 4}}', '{"index": 0, "start": 0, "end": 1, "text": "hello"}', true),
            ('{"progress": 25}', '{"index": 1, "start": 1, "end": 2, "text": "there"}', true),
            ('{"progress": 25}', '{"index": 1, "start": 1, "end": 2, "text": "world"}', false),
            ('{"transcribed": true}', '{}', true),
            ('{"transcribed": true}', '{}', false),
            ('{"stage": "synthesizing", "progress": 80}', '{}', true),
            ('{"stage": "synthesizing", "progress": 80}', '{}', false)
        ) as g (file, segment, is_gain)
    loop
        perform pg_temp.stop(v_claim);
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
