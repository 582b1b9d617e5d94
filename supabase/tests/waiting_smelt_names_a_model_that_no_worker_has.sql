-- The message of a waiting smelt names a model that no live worker has; `worker_online` is that of its model. Neither
-- changes its `seq`.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_id uuid;
    v_text uuid;
    v_state jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(pg_temp.recordings(1), options => '{"model": "large"}');
    v_id := v_created ->> 'id';
    v_text := public.create_smelt(text_input => 'notes') ->> 'id';
    assert public.get_smelt(v_id) -> 'progress' ->> 'message' = 'Waiting to process...', 'it waits for its upload';
    perform pg_temp.upload(v_created);
    v_state := public.submit_smelt(v_id);
    assert v_state @> '{"worker_online": false, "progress": {"message": "No worker has the model large."}}', v_state;

    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('s', '{"models": ["small"]}');
    perform pg_temp.become('authenticated', v_user);
    v_state := public.get_smelt(v_id);
    assert v_state @> '{"worker_online": false, "progress": {"message": "No worker has the model large."}}', v_state;
    assert public.get_smelt(v_id, after_seq => (v_state ->> 'seq')::bigint)
        @> '{"worker_online": false, "message": "No worker has the model large."}';
    assert public.get_smelt(v_text) @> '{"worker_online": true, "progress": {"message": "Waiting to process..."}}';
    assert jsonb_path_query_array(
        public.get_smelts(jsonb_build_array(jsonb_build_object('id', v_id), jsonb_build_object('id', v_text))),
        '$.smelts[*].worker_online'
    ) = '[false, true]';
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).message = 'Waiting to process...', 'the row does not change with the workers';

    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('l', '{"models": ["large", "org/large"]}');
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_id) @> '{"worker_online": true, "progress": {"message": "Waiting to process..."}}';
    assert public.get_smelt(v_id) -> 'seq' = v_state -> 'seq';
    assert public.get_smelt(v_id, after_seq => (v_state ->> 'seq')::bigint)
        @> '{"worker_online": true, "message": "Waiting to process..."}';
    perform pg_temp.become('postgres');
    update smelt.workers set seen_at = clock_timestamp() - interval '61 s' where worker_id = 'l';
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_id) -> 'worker_online' = 'false';
end
$$;
