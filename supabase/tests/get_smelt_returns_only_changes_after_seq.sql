-- `get_smelt` returns only what changed since `after_seq`, and segments after `segments_after`. An unchanged smelt
-- still has its position in the queue and `worker_online`. Words are returned on request.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user, 2);
    v_claim constant jsonb := pg_temp.claim();
    v_words constant jsonb := '[{"word": " hello", "start": 0, "end": 1, "probability": 0.9}]';
    v_state jsonb;
    v_many jsonb;
    v_next uuid;
begin
    for i in 0..1 loop
        perform pg_temp.become('service_role');
        perform public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, segments => jsonb_build_array(
            jsonb_build_object(
                'file_id', v_claim -> 'files' -> i ->> 'id', 'index', 0, 'start', 0, 'end', 1, 'text', 'hello',
                'words', case when i = 0 then v_words end
            )
        ));
        perform pg_temp.become('authenticated', v_user);
        v_state := public.get_smelt(v_id, segments_after => coalesce((v_state ->> 'segments_seq')::bigint, 0));
        assert jsonb_array_length(v_state -> 'segments') = 1, v_state;
        assert v_state -> 'segments' -> 0 ->> 'file_id' = v_claim -> 'files' -> i ->> 'id', v_state;
    end loop;
    assert public.get_smelt(v_id, (v_state ->> 'seq')::bigint)
        = jsonb_build_object('id', v_id, 'seq', v_state -> 'seq', 'next_poll_s', 2, 'worker_online', false);
    assert jsonb_array_length(public.get_smelt(v_id) -> 'segments') = 2;
    assert not public.get_smelt(v_id) -> 'segments' -> 0 ? 'words';
    assert public.get_smelt(v_id, with_words => true) -> 'segments'
        = jsonb_set(public.get_smelt(v_id) -> 'segments', '{0,words}', v_words);
    assert public.get_smelt(v_id, segments_after => (v_state ->> 'seq')::bigint) -> 'segments' = '[]';

    v_many := public.get_smelts(jsonb_build_array(
        jsonb_build_object('id', v_id, 'after_seq', v_state -> 'seq'), jsonb_build_object('id', gen_random_uuid())
    ));
    assert jsonb_array_length(v_many -> 'missing') = 1, v_many;
    assert not v_many -> 'smelts' -> 0 ? 'status', v_many;
    v_many := public.get_smelts(jsonb_build_array(
        jsonb_build_object('id', v_id, 'after_seq', null, 'segments_after', v_state -> 'seq')
    ));
    assert v_many -> 'smelts' -> 0 -> 'segments' = '[]', v_many;
    assert v_many -> 'smelts' -> 0 -> 'segments_seq' = v_state -> 'seq', v_many;
    v_many := public.get_smelts(jsonb_build_array(jsonb_build_object('id', v_id)));
    assert jsonb_array_length(v_many -> 'smelts' -> 0 -> 'segments') = 2, v_many;

    perform pg_temp.given_smelt();
    v_next := pg_temp.given_smelt(v_user);
    perform pg_temp.become('authenticated', v_user);
    v_state := public.get_smelt(v_next);
    assert v_state ->> 'queue_position' = '2', v_state;
    assert pg_temp.claim() is not null;
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_next, (v_state ->> 'seq')::bigint)
        = jsonb_build_object(
            'id', v_next, 'seq', v_state -> 'seq', 'next_poll_s', 5, 'queue_position', 1,
            'message', 'Waiting to process...', 'worker_online', false
        );
    v_many := public.get_smelts(jsonb_build_array(jsonb_build_object('id', v_next, 'after_seq', v_state -> 'seq')));
    assert v_many -> 'smelts' -> 0 -> 'queue_position' = '1', v_many;

    assert public.get_smelts('[]') = '{"smelts": [], "missing": []}';
    assert pg_temp.rejection('select public.get_smelts(''{}'')') = 'PT400 invalid_request';
end
$$;

-- A state is returned once, however often its id is listed.
do $$
declare
    v_smelt constant uuid := pg_temp.given_smelt();
    v_entry constant jsonb := jsonb_build_object('id', v_smelt);
    v_missing constant jsonb := jsonb_build_object('id', gen_random_uuid());
    v_response jsonb;
begin
    perform pg_temp.become('anon');
    v_response := public.get_smelts(jsonb_build_array(v_missing, v_entry, v_missing, v_entry || '{"after_seq": 99}'));
    assert jsonb_array_length(v_response -> 'smelts') = 1, v_response;
    assert v_response -> 'smelts' -> 0 ->> 'status' = 'pending', 'the first entry counts';
    assert v_response -> 'missing' = jsonb_build_array(v_missing -> 'id'), v_response;
end
$$;
