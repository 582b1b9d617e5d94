-- `segment_count` removes the segments of an earlier attempt beyond the end of the transcript. Watchers see the change,
-- once.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_file uuid;
    v_claim jsonb;
    v_report jsonb;
    v_state jsonb;
begin
    v_claim := pg_temp.claim();
    v_file := v_claim -> 'files' -> 0 ->> 'id';
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint, status => 'transcribing',
        segments => (
            select jsonb_agg(
                jsonb_build_object('file_id', v_file, 'index', i, 'start', i, 'end', i + 1, 'text', 'word ' || i)
            )
            from generate_series(0, 4) as i
        )
    );
    v_report := public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint,
        files => jsonb_build_array(jsonb_build_object('id', v_file, 'transcribed', true, 'segment_count', 3)),
        segments => jsonb_build_array(
            jsonb_build_object('file_id', v_file, 'index', 2, 'start', 2, 'end', 3, 'text', 'another word')
        )
    );
    assert v_report -> 'event' ->> 'seq' is not null, v_report;
    v_state := public.get_smelt(v_id);
    assert jsonb_path_query_array(v_state, '$.segments[*].text') = '["word 0", "word 1", "another word"]', v_state;
    assert v_state -> 'seq' = v_report -> 'event' -> 'seq', v_state;

    v_report := public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint,
        files => jsonb_build_array(jsonb_build_object('id', v_file, 'segment_count', 3))
    );
    assert v_report -> 'event' = 'null', v_report;
    perform public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint - 1,
        files => jsonb_build_array(jsonb_build_object('id', v_file, 'segment_count', 0))
    );
    assert jsonb_array_length(public.get_smelt(v_id) -> 'segments') = 3, 'a stale attempt removed segments';
end
$$;
