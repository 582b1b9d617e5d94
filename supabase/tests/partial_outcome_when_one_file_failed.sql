-- A failed file does not fail the smelt: it has a code of its own, the other files complete, the outcome is `partial`.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user(), 2);
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    v_response := public.report_smelt_progress(v_id, v_attempt, 'validating', files => jsonb_build_array(
        jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'status', 'failed', 'error_code', 'corrupted_file')
    ));
    assert v_response -> 'event' -> 'files' -> 0 ->> 'status' = 'failed', v_response;
    v_response := public.complete_smelt(v_id, v_attempt, jsonb_build_array(jsonb_build_object(
        'file_id', v_claim -> 'files' -> 1 ->> 'id', 'filename', '2.mp3', 'content', '# Notes'
    )));
    assert v_response ->> 'outcome' = 'partial', v_response;
    v_response := public.get_smelt(v_id);
    assert v_response -> 'files' -> 0 ->> 'error_message' = 'The file is damaged or empty.', v_response;
    assert v_response -> 'files' -> 1 ->> 'status' = 'completed', v_response;
    assert jsonb_array_length(v_response -> 'results') = 1, v_response;
    assert (pg_temp.smelt(v_id)).audio_state = 'stored', 'the audio is kept for a retry';
end
$$;
