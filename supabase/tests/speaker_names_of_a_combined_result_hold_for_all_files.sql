-- A combined result has the name of a speaker if each file with the label has that name. A retry keeps the names.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user, 3);
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_content text;
begin
    update public.smelts set mode = 'combine' where id = v_id;
    perform pg_temp.become('service_role');
    -- The second file has another speaker; the third one fails.
    perform public.report_smelt_progress(
        v_id, v_attempt, 'synthesizing',
        files => jsonb_build_array(
            jsonb_build_object('id', v_claim -> 'files' -> 0 ->> 'id', 'transcribed', true),
            jsonb_build_object('id', v_claim -> 'files' -> 1 ->> 'id', 'transcribed', true),
            jsonb_build_object('id', v_claim -> 'files' -> 2 ->> 'id', 'status', 'failed')
        ),
        segments => jsonb_build_array(
            jsonb_build_object(
                'file_id', v_claim -> 'files' -> 0 ->> 'id', 'index', 0, 'start', 0, 'end', 1, 'text', 'A.',
                'speaker', 'Speaker 1'
            ),
            jsonb_build_object(
                'file_id', v_claim -> 'files' -> 0 ->> 'id', 'index', 1, 'start', 1, 'end', 2, 'text', 'B.',
                'speaker', 'Speaker 2'
            ),
            jsonb_build_object(
                'file_id', v_claim -> 'files' -> 1 ->> 'id', 'index', 0, 'start', 0, 'end', 1, 'text', 'C.',
                'speaker', 'Speaker 1'
            ),
            jsonb_build_object(
                'file_id', v_claim -> 'files' -> 2 ->> 'id', 'index', 0, 'start', 0, 'end', 1, 'text', 'D.',
                'speaker', 'Speaker 1'
            )
        )
    );
    perform public.complete_smelt(v_id, v_attempt, jsonb_build_array(jsonb_build_object(
        'file_id', v_id, 'filename', 'combined.md', 'content', 'Speaker 1, Speaker 2'
    )));
    perform pg_temp.become('authenticated', v_user);
    perform public.rename_smelt_speaker(v_id, 'Speaker 1', 'Ann', (v_claim -> 'files' -> 0 ->> 'id')::uuid);
    v_content := public.rename_smelt_speaker(v_id, 'Speaker 2', 'Ben') -> 'results' -> 0 ->> 'content';
    assert v_content = 'Speaker 1, Ben', v_content;
    v_content := public.rename_smelt_speaker(v_id, 'Speaker 1', 'Cleo', (v_claim -> 'files' -> 1 ->> 'id')::uuid)
        -> 'results' -> 0 ->> 'content';
    assert v_content = 'Speaker 1, Ben', v_content;
    v_content := public.rename_smelt_speaker(v_id, 'Speaker 1', 'Ann') -> 'results' -> 0 ->> 'content';
    assert v_content = 'Ann, Ben', v_content;
    assert public.retry_smelt(v_id) -> 'files' -> 0 -> 'speaker_names' = '{"Speaker 1": "Ann", "Speaker 2": "Ben"}';
    -- The next worker gets the labels: results are stored with them.
    perform pg_temp.become('service_role');
    assert public.load_smelt_segments(v_id, (v_claim -> 'files' -> 0 ->> 'id')::uuid) -> 0 ->> 'speaker' = 'Speaker 1';
end
$$;
