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

-- A text that is created with `submit => false` wakes no worker and is not claimable until `submit_smelt`.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
    v_claim jsonb;
    v_woken bigint;
begin
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = at - interval '1.01 s';
    v_woken := count(*) from realtime.messages where topic = 'smelt-workers';
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(text_input => 'Rough notes', submit => false) ->> 'id';
    assert public.get_smelt(v_id) -> 'submitted_at' = 'null';
    assert public.retry_smelt(v_id) -> 'submitted_at' = 'null';
    perform pg_temp.become('postgres');
    assert (select count(*) = v_woken from realtime.messages where topic = 'smelt-workers');
    assert pg_temp.claim() is null;
    perform pg_temp.become('authenticated', v_user);
    assert public.submit_smelt(v_id) ->> 'submitted_at' is not null;
    perform pg_temp.become('postgres');
    assert (select count(*) = v_woken + 1 from realtime.messages where topic = 'smelt-workers');
    v_claim := pg_temp.claim();
    assert v_claim ->> 'text_input' = 'Rough notes', v_claim;
    assert (pg_temp.smelt(v_id)).audio_state = 'none';
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(text_input => 'Later notes', submit => false) ->> 'id';
    perform pg_temp.become('postgres');
    update public.smelts set created_at = now() - interval '25 h' where id = v_id;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') -> 'smelts' = jsonb_build_array(v_id);
    assert public.confirm_smelts_purged('{}', array[v_id]) ->> 'purged' = '1';
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).id is null;
end
$$;
