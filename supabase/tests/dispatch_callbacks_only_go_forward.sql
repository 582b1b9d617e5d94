-- Callbacks of an external service: segments continue the saved ones, a repeated one changes nothing, and the percentage
-- follows the shares of the files by their durations. When all files are done, the smelt is due at once, without a
-- failure; the last callback may be repeated.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user(), 2);
    v_claim jsonb := pg_temp.claim();
    v_attempt constant bigint := (v_claim ->> 'attempt')::bigint;
    v_first constant text := v_claim -> 'files' -> 0 ->> 'id';
    v_second constant text := v_claim -> 'files' -> 1 ->> 'id';
    v_segments constant jsonb := '[
        {"index": 0, "start": 0, "end": 1, "text": "a"}, {"index": 1, "start": 1, "end": 2, "text": "b"}
    ]';
    v_report jsonb;
    v_response jsonb;
    v_seq bigint;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'transcribing', files => jsonb_build_array(
        jsonb_build_object('id', v_first, 'stage', 'transcribing', 'duration_seconds', 30),
        jsonb_build_object('id', v_second, 'stage', 'transcribing', 'duration_seconds', 10)
    ));
    assert public.dispatch_smelt(v_id, v_attempt) = '{"verdict": "go_on"}';
    assert public.report_smelt_progress(v_id, v_attempt, 'transcribing') ->> 'verdict' = 'lost',
        'the worker has handed it over';

    v_response := public.report_dispatched_smelt(v_id, v_attempt, jsonb_build_object(
        'file_id', v_first, 'progress', 50, 'segments', v_segments, 'language', 'en'
    ));
    assert v_response ->> 'verdict' = 'go_on', v_response;
    assert v_response #>> '{event,progress,percentage}' = '38.8', v_response; -- 20 + 50 * (0.5 * 30) / 40
    v_seq := (v_response ->> 'seq')::bigint;
    v_response := public.report_dispatched_smelt(v_id, v_attempt, jsonb_build_object(
        'file_id', v_first, 'progress', 20, 'segments', v_segments - 1
    ));
    assert v_response ->> 'event' is null and (v_response ->> 'seq')::bigint = v_seq, v_response;
    foreach v_report in array array[
        jsonb_build_object('file_id', v_first, 'segments', '[{"index": 3, "start": 3, "end": 4, "text": "c"}]'::jsonb),
        jsonb_build_object('file_id', v_first, 'segments', '[{"index": 1, "start": 1, "end": 2, "text": "c"}]'::jsonb),
        jsonb_build_object('file_id', v_first, 'segments', '[{"index": 2, "start": 2, "end": 31, "text": "c"}]'::jsonb),
        jsonb_build_object('file_id', v_first, 'segments', '[{"index": 2, "start": 0, "end": 3, "text": "c"}]'::jsonb),
        jsonb_build_object('progress', 1)
    ] loop
        assert pg_temp.rejection(format(
            'select public.report_dispatched_smelt(%L, %s, %L)', v_id, v_attempt, v_report
        )) = 'PT400 invalid_request', v_report;
    end loop;
    assert public.report_dispatched_smelt(v_id, v_attempt, jsonb_build_object('file_id', gen_random_uuid()))
        ->> 'verdict' = 'foreign';

    perform public.report_dispatched_smelt(v_id, v_attempt, jsonb_build_object('file_id', v_first, 'done', true));
    v_response := public.report_dispatched_smelt(v_id, v_attempt, jsonb_build_object('file_id', v_second, 'done', true));
    assert public.report_dispatched_smelt(v_id, v_attempt, jsonb_build_object('file_id', v_second, 'done', true))
        @> jsonb_build_object('verdict', 'go_on', 'seq', v_response -> 'seq'), 'repeated';
    perform pg_temp.become('postgres');
    assert (select s.failure_count = 0 and s.percentage = 70 from public.smelts as s where s.id = v_id);
    assert (select c.checkpoint @> '{"transcribed_s": 2, "segment_count": 2}' from smelt.checkpoints as c);
    v_claim := pg_temp.claim();
    assert v_claim #>> '{files,0,transcribed}' = 'true' and v_claim #>> '{files,0,segment_count}' = '2', v_claim;
    assert not exists (select from smelt.attempts as a where a.is_failure);
end
$$;
