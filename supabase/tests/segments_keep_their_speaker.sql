-- The speaker of a segment is returned to clients and to the next worker; it is left out where it is unknown.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim();
    v_file constant uuid := v_claim -> 'files' -> 0 ->> 'id';
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_state jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'transcribing', segments => jsonb_build_array(
        jsonb_build_object(
            'file_id', v_file, 'index', 0, 'start', 0, 'end', 1, 'text', 'Hello.', 'speaker', 'Speaker 1'
        ),
        jsonb_build_object('file_id', v_file, 'index', 1, 'start', 1, 'end', 2, 'text', 'Hi.')
    ));
    assert jsonb_path_query_array(public.load_smelt_segments(v_id, v_file), '$[*].speaker') = '["Speaker 1", null]';
    perform pg_temp.become('authenticated', v_user);
    v_state := public.get_smelt(v_id);
    assert v_state -> 'segments' -> 0 ->> 'speaker' = 'Speaker 1', v_state -> 'segments';
    assert not v_state -> 'segments' -> 1 ? 'speaker', v_state -> 'segments';

    -- Another speaker is a visible change.
    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, v_attempt, 'transcribing', segments => jsonb_build_array(
        jsonb_build_object(
            'file_id', v_file, 'index', 0, 'start', 0, 'end', 1, 'text', 'Hello.', 'speaker', 'Speaker 2'
        )
    )) -> 'event' <> 'null';
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_id) -> 'segments' -> 0 ->> 'speaker' = 'Speaker 2';
end
$$;
