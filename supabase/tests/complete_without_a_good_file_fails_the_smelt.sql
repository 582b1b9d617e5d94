-- If every file failed, the smelt fails with code and sentence of its first file.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user(), 2);
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'validating', files => jsonb_build_array(
        jsonb_build_object('id', v_claim -> 'files' -> 1 ->> 'id', 'status', 'failed', 'error_code', 'corrupted_file'),
        jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'status', 'failed', 'error_code', 'invalid_format',
            'error_message', 'The model knows English only.')
    ));
    v_response := public.complete_smelt(v_id, v_attempt, '[]');
    assert v_response ->> 'status' = 'failed' and v_response ->> 'error_code' = 'invalid_format', v_response;
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).error_message = 'The model knows English only.';
    assert (
        select array_agg(f.error_message order by f.position)
            = array['The model knows English only.', smelt.error_sentence('corrupted_file')]
        from public.smelt_files as f
        where f.smelt_id = v_id
    );
end
$$;
