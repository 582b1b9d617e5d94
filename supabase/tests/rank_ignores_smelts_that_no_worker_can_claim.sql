-- Smelts of a model that no live worker has do not hold back the rank that was reached. They keep their ranks: a worker
-- that brings the model back claims the smelts of each owner in the order of their creation.
do $$
declare
    v_ada constant uuid := pg_temp.given_user();
    v_ben constant uuid := pg_temp.given_user();
    v_cat constant uuid := pg_temp.given_user();
    v_large uuid[];
    v_small uuid[] := '{}';
    v_id uuid;
    v_claims jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('w', '{"models": ["small"]}');
    perform pg_temp.become('authenticated', v_ada);
    for n in 1..3 loop
        v_large := v_large || (
            public.create_smelt(pg_temp.recordings(1), options => '{"model": "large"}') ->> 'id'
        )::uuid;
        perform pg_temp.become('postgres');
        perform pg_temp.upload(jsonb_build_object('files', (
            select jsonb_agg(to_jsonb(f)) from public.smelt_files as f where f.smelt_id = v_large[n]
        )));
        perform pg_temp.become('authenticated', v_ada);
        perform public.submit_smelt(v_large[n]);
    end loop;
    perform pg_temp.become('authenticated', v_ben);
    for n in 1..20 loop
        v_small := v_small || (public.create_smelt(text_input => 'notes') ->> 'id')::uuid;
    end loop;
    perform pg_temp.become('service_role');
    for n in 1..10 loop
        v_claims := public.claim_smelts('w', models => '{small}');
        assert v_claims -> 'smelts' -> 0 ->> 'id' = v_small[n]::text, v_claims;
    end loop;

    -- New owners begin where the worker is, also one with a smelt that waits for the model.
    perform pg_temp.become('authenticated', v_cat);
    v_id := public.create_smelt(text_input => 'notes') ->> 'id';
    assert (pg_temp.smelt(v_id)).queue_rank = 11, pg_temp.smelt(v_id);
    perform pg_temp.become('authenticated', v_ada);
    v_id := public.create_smelt(text_input => 'notes') ->> 'id';
    assert (pg_temp.smelt(v_id)).queue_rank = 11, pg_temp.smelt(v_id);

    -- The model is back, with the restart of the only worker that has it.
    perform pg_temp.become('service_role');
    for n in 1..2 loop
        perform public.heartbeat_smelt_worker('l', '{"models": ["large", "small"]}');
        assert (
            select array_agg(s.queue_rank order by s.queue_rank) = '{1,2,3}'
            from unnest(v_large) as id
            cross join lateral pg_temp.smelt(id) as s
        );
        perform public.heartbeat_smelt_worker('l', '{}', leaving => n = 1);
    end loop;
    v_claims := public.claim_smelts('l', models => '{large,small}', max_count => 100) -> 'smelts';
    assert jsonb_array_length(v_claims) = 15, v_claims;
    assert jsonb_path_query_array(v_claims, '$[0 to 2].id') = to_jsonb(v_large), v_claims;
end
$$;

-- Between two kinds of workers, an owner without smelts begins where the workers of its model are.
do $$
declare
    v_ada constant uuid := pg_temp.given_user();
    v_ben constant uuid := pg_temp.given_user();
begin
    perform pg_temp.become('postgres');
    delete from smelt.workers;
    delete from public.smelts;
    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('s', '{"models": ["small"]}');
    perform public.heartbeat_smelt_worker('l', '{"models": ["large"]}');
    perform pg_temp.become('postgres');
    insert into public.smelts (user_id, audio_state, submitted_at, claimable_at, queue_rank, options)
    values
        (v_ada, 'stored', now(), now(), 50, '{"model": "small"}'),
        (v_ada, 'stored', now(), now(), 10, '{"model": "large"}');
    assert smelt.next_rank(v_ben, 'small') = 50, smelt.next_rank(v_ben, 'small');
    assert smelt.next_rank(v_ben, 'large') = 10;
    assert smelt.next_rank(v_ben, '') = 50;
    assert smelt.next_rank(v_ada, 'large') = 51, 'above all smelts of the owner';
end
$$;
