-- A text is claimable as soon as it is created and wakes the workers; its result has the form of that of a file.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(text_input => 'Ünsere rough notes');
    assert v_created -> 'files' -> 0 @> '{
        "filename": "text", "upload_path": null, "size_bytes": 19, "input_type": "text", "position": 0
    }', v_created;
    assert v_created -> 'default_prompt_names' = '["summarize"]', v_created;
    perform pg_temp.become('postgres');
    set constraints all immediate;
    assert (select count(*) = 1 from realtime.messages where topic = 'smelt-workers' and event = 'smelt' and private);
    v_claim := pg_temp.claim();
    assert v_claim ->> 'text_input' = 'Ünsere rough notes', v_claim;
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress((v_claim ->> 'id')::uuid, (v_claim ->> 'attempt')::bigint, 'synthesizing', 80);
    assert public.complete_smelt(
        (v_claim ->> 'id')::uuid, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim)
    ) ->> 'outcome' = 'complete';
    assert (pg_temp.smelt((v_claim ->> 'id')::uuid)).audio_state = 'none';
end
$$;
