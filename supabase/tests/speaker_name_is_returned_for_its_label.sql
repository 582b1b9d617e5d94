-- A name that the owner gives to a speaker is returned for the label in segments, results and outputs, also after the
-- end; the label brings itself back. Each change is a visible one, a repeated call is none.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user, 2);
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_first constant uuid := v_claim -> 'files' -> 0 ->> 'id';
    v_second constant uuid := v_claim -> 'files' -> 1 ->> 'id';
    v_rename constant text := format('select public.rename_smelt_speaker(%L, ', v_id);
    v_seq bigint;
    v_state jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'transcribing', segments => jsonb_build_array(
        jsonb_build_object('file_id', v_first, 'index', 0, 'start', 0, 'end', 1, 'text', 'A.', 'speaker', 'Speaker 1'),
        jsonb_build_object('file_id', v_first, 'index', 1, 'start', 1, 'end', 2, 'text', 'B.', 'speaker', 'Speaker 2'),
        jsonb_build_object('file_id', v_second, 'index', 0, 'start', 0, 'end', 1, 'text', 'C.', 'speaker', 'Speaker 1')
    ));
    perform pg_temp.become('authenticated', v_user);
    assert pg_temp.rejection(v_rename || '''Speaker 1'', ''Ann'')') = 'PT404 speaker_not_found', 'not transcribed yet';

    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'synthesizing', files => jsonb_build_array(
        jsonb_build_object('id', v_first, 'transcribed', true), jsonb_build_object('id', v_second, 'transcribed', true)
    ));
    -- An open smelt broadcasts the change.
    perform public.rename_smelt_speaker(v_id, 'Speaker 1', 'Ben');
    perform public.rename_smelt_speaker(v_id, 'Speaker 1', 'Speaker 1');
    perform pg_temp.become('postgres');
    assert exists (
        select from realtime.messages as m
        where m.topic = 'smelt:' || v_id and m.event = 'progress'
            and (m.payload ->> 'seq')::bigint = (pg_temp.smelt(v_id)).seq
    );
    perform pg_temp.become('service_role');
    perform public.complete_smelt(v_id, v_attempt, jsonb_build_array(
        jsonb_build_object(
            'file_id', v_first, 'filename', '1.mp3',
            'content', '- Speaker 1: A. Speaker 10''s.' || chr(10) || '- Speaker 2: B, to Speaker 1.'
        ),
        jsonb_build_object('file_id', v_second, 'filename', '2.mp3', 'content', 'Speaker 1: C.')
    ));
    v_seq := (pg_temp.smelt(v_id)).seq;

    -- Two names that are the label of the other: each is replaced once. Markup of a name is text.
    perform pg_temp.become('authenticated', v_user);
    perform public.rename_smelt_speaker(v_id, 'Speaker 1', ' Speaker 2 ', v_first);
    v_state := public.rename_smelt_speaker(v_id, 'Speaker 2', '*Ann* [x]');
    assert v_state -> 'files' -> 0 -> 'speaker_names' = '{"Speaker 1": "Speaker 2", "Speaker 2": "*Ann* [x]"}', v_state;
    assert v_state -> 'files' -> 1 -> 'speaker_names' = '{}', v_state;
    assert v_state -> 'results' -> 0 ->> 'content'
        = '- Speaker 2: A. Speaker 10''s.' || chr(10) || '- \*Ann\* \[x]: B, to Speaker 2.', v_state -> 'results';
    assert v_state -> 'results' -> 1 ->> 'content' = 'Speaker 1: C.', v_state -> 'results';
    assert jsonb_path_query_array(public.get_smelt(v_id), '$.segments[*].speaker')
        = '["Speaker 2", "*Ann* [x]", "Speaker 1"]';

    -- A client that has seen the end gets what changed since.
    assert (v_state ->> 'seq')::bigint = v_seq + 2;
    assert jsonb_path_query_array(public.get_smelt(v_id, v_seq, v_seq + 1), '$.segments[*].speaker')
        = '["*Ann* [x]"]', public.get_smelt(v_id, v_seq, v_seq + 1);
    perform public.rename_smelt_speaker(v_id, 'Speaker 2', '*Ann* [x]');
    assert (pg_temp.smelt(v_id)).seq = v_seq + 2, 'a repeated call changes nothing';

    -- In all files, and back to the label.
    perform public.rename_smelt_speaker(v_id, 'Speaker 1', 'Ben');
    assert jsonb_path_query_array(public.get_smelt(v_id), '$.segments[*].speaker') = '["Ben", "*Ann* [x]", "Ben"]';
    perform public.rename_smelt_speaker(v_id, 'Speaker 1', 'Speaker 1');
    v_state := public.rename_smelt_speaker(v_id, 'Speaker 2', 'Speaker 2');
    assert jsonb_path_query_array(v_state, '$.files[*].speaker_names') = '[{}, {}]', v_state;
    assert v_state -> 'results' -> 0 ->> 'content' like '- Speaker 1: A.%Speaker 2: B%', v_state -> 'results';

    -- Rejected names and callers.
    assert pg_temp.rejection(v_rename || '''Speaker 3'', ''Ann'')') = 'PT404 speaker_not_found';
    assert pg_temp.rejection(v_rename || format('''Speaker 2'', ''Ann'', %L)', v_second)) = 'PT404 speaker_not_found';
    assert pg_temp.rejection(v_rename || '''Speaker 1'', '' '')') = 'PT400 invalid_request';
    assert pg_temp.rejection(v_rename || '''Speaker 1'', null)') = 'PT400 invalid_request';
    assert pg_temp.rejection(v_rename || '''Speaker 1'', repeat(''x'', 101))') = 'PT400 invalid_request';
    assert pg_temp.rejection(v_rename || '''Speaker 1'', E''a\nb'')') = 'PT400 invalid_request';
    assert pg_temp.rejection(v_rename || '''Speaker 1'', U&''a\202Eb'')') = 'PT400 invalid_request';
    perform pg_temp.become('authenticated', pg_temp.given_user());
    assert pg_temp.rejection(v_rename || '''Speaker 1'', ''Ann'')') = 'PT404 not_found';
    perform pg_temp.become('anon');
    assert pg_temp.rejection(v_rename || '''Speaker 1'', ''Ann'')') = 'PT404 not_found';
    perform pg_temp.become('service_role');
    assert public.rename_smelt_speaker(v_id, 'Speaker 1', 'Ann') -> 'files' -> 0 -> 'speaker_names' ? 'Speaker 1';
end
$$;
