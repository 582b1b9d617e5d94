-- Outputs are in the snapshot while they are written; each change is visible. An attempt that begins an output again
-- deletes those after it, and the end replaces all of them by the results.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim();
    v_other constant uuid := pg_temp.given_ended_smelt(pg_temp.given_user());
    v_attempt bigint := v_claim ->> 'attempt';
    v_text text;
    v_file constant uuid := v_claim -> 'files' -> 0 ->> 'id';
    v_summary constant jsonb := jsonb_build_object(
        'file_id', v_file, 'position', 0, 'title', 'Summary', 'content', 'Short.', 'is_complete', true
    );
    v_notes constant jsonb := jsonb_build_object(
        'file_id', v_file, 'position', 1, 'title', 'Notes', 'content', 'Long', 'is_complete', false
    );
    v_seq bigint;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'synthesizing', 80, outputs => jsonb_build_array(
        v_notes, v_summary
    ));
    v_seq := (pg_temp.smelt(v_id)).seq;
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_id) -> 'outputs' = jsonb_build_array(v_summary, v_notes), public.get_smelt(v_id);
    assert public.get_smelt(v_id) -> 'results' = 'null';

    -- The same again changes nothing; more text does.
    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, v_attempt, 'synthesizing', 80, outputs => jsonb_build_array(v_notes))
        -> 'event' = 'null';
    assert public.report_smelt_progress(v_id, v_attempt, 'synthesizing', 80, outputs => jsonb_build_array(
        v_notes || '{"content": "Longer"}'
    )) -> 'event' <> 'null';
    assert (pg_temp.smelt(v_id)).seq = v_seq + 1;
    assert public.get_smelt(v_id) -> 'outputs' -> 1 ->> 'content' = 'Longer';

    -- Begun again, for example by another worker; a file of another smelt is ignored.
    perform public.report_smelt_progress(v_id, v_attempt, 'synthesizing', 80, outputs => jsonb_build_array(
        v_summary || '{"content": "", "is_complete": false}',
        v_notes || jsonb_build_object('file_id', (select f.id from public.smelt_files as f where f.smelt_id = v_other))
    ));
    assert jsonb_path_query_array(public.get_smelt(v_id), '$.outputs[*].content') = '[""]', public.get_smelt(v_id);
    assert public.get_smelt(v_other) -> 'outputs' = '[]';

    -- What the database broadcasts has them as well, if they fit.
    foreach v_text in array array['So far', repeat('w', 50000)] loop
        perform pg_temp.become('service_role');
        perform public.report_smelt_progress(v_id, v_attempt, 'synthesizing', 80, outputs => jsonb_build_array(
            v_summary || jsonb_build_object('content', v_text)
        ));
        perform public.release_smelt(v_id, v_attempt);
        perform pg_temp.become('postgres');
        assert (
            select jsonb_path_query_array(m.payload, '$.outputs[*].content')
                = case when char_length(v_text) < 1000 then jsonb_build_array(v_text) else '[]' end
            from realtime.messages as m
            where m.topic = 'smelt:' || v_id and (m.payload ->> 'seq')::bigint = (pg_temp.smelt(v_id)).seq
        ), left(v_text, 10);
        v_attempt := pg_temp.claim() ->> 'attempt';
    end loop;

    perform pg_temp.become('service_role');
    perform public.complete_smelt(v_id, v_attempt, pg_temp.results(v_claim));
    assert public.get_smelt(v_id) -> 'outputs' = '[]';
    assert public.get_smelt(v_id) -> 'results' -> 0 ->> 'content' = '# Notes';
end
$$;
