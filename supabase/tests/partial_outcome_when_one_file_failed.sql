-- One failed file of several does not fail the smelt: it carries its own code, the others complete.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user(), 2);
    v_claim constant jsonb := pg_temp.claim();
    v_answer jsonb;
begin
    perform pg_temp.become('service_role');
    v_answer := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'validating', files => jsonb_build_array(
        jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'status', 'failed', 'error_code', 'corrupted_file')
    ));
    assert v_answer -> 'event' -> 'files' -> 0 ->> 'status' = 'failed', v_answer;
    v_answer := public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, jsonb_build_array(jsonb_build_object(
        'file_id', v_claim -> 'files' -> 1 ->> 'id', 'filename', '2.mp3', 'content', '# Notes'
    )));
    assert v_answer ->> 'outcome' = 'partial', v_answer;
    v_answer := public.get_smelt(v_id);
    assert v_answer -> 'files' -> 0 ->> 'error_message' = 'The file is damaged or empty.', v_answer;
    assert v_answer -> 'files' -> 1 ->> 'status' = 'completed', v_answer;
    assert jsonb_array_length(v_answer -> 'results') = 1, v_answer;
    assert (pg_temp.smelt(v_id)).audio_state = 'stored', 'kept for a retry';
end
$$;
