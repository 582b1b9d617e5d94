-- `seq` grows only with what a watcher can see: the same report again creates no event.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_files constant jsonb := jsonb_build_array(jsonb_build_object(
        'id', v_claim -> 'files' -> 0 ->> 'id', 'status', 'processing', 'stage', 'decoding', 'progress', 33.333,
        'duration_seconds', 61.12345, 'language', 'en', 'language_probability', 0.98765,
        'checkpoint', '{"at": 1}'::jsonb
    ));
    v_report jsonb;
    v_seq bigint;
    i integer;
begin
    for i in 1..2 loop
        perform pg_temp.become('service_role');
        v_report := public.report_smelt_progress(
            v_id, (v_claim ->> 'attempt')::bigint, 'decoding', 15, eta_seconds => 30, files => v_files
        );
        perform pg_temp.become('postgres');
        assert (v_report -> 'event' = 'null') = (i = 2), v_report;
        v_seq := coalesce(v_seq, (pg_temp.smelt(v_id)).seq);
        assert (pg_temp.smelt(v_id)).seq = v_seq;
    end loop;
    perform pg_temp.become('service_role');
    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, eta_seconds => 90);
    assert v_report -> 'event' ->> 'eta_seconds' = '90.0', v_report;
    -- Watchers do not see checkpoints.
    v_report := public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint,
        files => jsonb_set(v_files, '{0,checkpoint}', '{"at": 2}')
    );
    assert v_report -> 'event' = 'null', v_report;
end
$$;
