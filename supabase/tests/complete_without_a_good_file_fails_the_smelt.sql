-- If every file failed there is nothing to complete: the smelt fails with the code of the first.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user(), 2);
    v_claim constant jsonb := pg_temp.claim();
    v_answer jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'validating', files => jsonb_build_array(
        jsonb_build_object('id', v_claim -> 'files' -> 1 ->> 'id', 'status', 'failed', 'error_code', 'corrupted_file'),
        jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'status', 'failed', 'error_code', 'invalid_format')
    ));
    v_answer := public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, '[]');
    assert v_answer ->> 'status' = 'failed' and v_answer ->> 'error_code' = 'invalid_format', v_answer;
end
$$;
