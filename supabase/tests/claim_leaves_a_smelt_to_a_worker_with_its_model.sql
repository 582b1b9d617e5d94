-- A smelt that names its model is claimed only by a worker that has it, also as a suspect and after its lease expired;
-- one that names none, by any worker.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_small uuid;
    v_large uuid;
    v_any uuid;
    v_claims jsonb;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_large := public.create_smelt(pg_temp.recordings(1), options => '{"model": "large"}') ->> 'id';
    v_small := public.create_smelt(pg_temp.recordings(1), options => '{"model": "small"}') ->> 'id';
    v_any := public.create_smelt(pg_temp.recordings(1)) ->> 'id';
    perform pg_temp.become('postgres');
    update public.smelts
    set submitted_at = now(), claimable_at = now(), audio_state = 'stored',
        queue_rank = case id when v_large then 1 when v_small then 2 else 3 end;

    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('older', max_count => 5);
    assert jsonb_path_query_array(v_claims, '$.smelts[*].id') = jsonb_build_array(v_any), v_claims;
    assert (v_claims ->> 'next_due_in_s')::numeric > 29, 'due is what this worker can claim: its lease';
    v_claims := public.claim_smelts('tiny', max_count => 5, models => '{tiny}');
    assert v_claims -> 'smelts' = '[]' and (v_claims ->> 'next_due_in_s')::numeric > 29, v_claims;
    v_claim := public.claim_smelts('small', max_count => 5, models => '{tiny,small}') -> 'smelts';
    assert jsonb_path_query_array(v_claim, '$[*].id') = jsonb_build_array(v_small), v_claim;

    -- Its lease expires without a risk: another worker with the model claims it, and no one else tries again and again.
    perform pg_temp.expire_leases();
    v_claims := public.claim_smelts('tiny', max_count => 5, models => '{tiny}');
    assert jsonb_path_query_array(v_claims, '$.smelts[*].id') = jsonb_build_array(v_any), v_claims;
    assert (v_claims ->> 'next_due_in_s')::numeric > 29, v_claims;
    v_claim := public.claim_smelts('small', models => '{small}') -> 'smelts' -> 0;
    assert v_claim ->> 'id' = v_small::text, v_claim;

    -- With a risk, any worker makes it a suspect, which only a worker with the model claims.
    perform pg_temp.become('postgres');
    perform pg_temp.stop(v_claim);
    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('idle', max_count => 5, models => '{tiny}');
    assert v_claims -> 'smelts' = '[]' and (v_claims ->> 'next_due_in_s')::numeric > 29, v_claims;
    assert public.get_smelt_attempts(v_small) ->> 'suspect' = 'model';
    v_claim := public.claim_smelts('other', max_count => 5, models => '{small}') -> 'smelts';
    assert jsonb_path_query_array(v_claim, '$[*].id') = jsonb_build_array(v_small), v_claim;

    -- A delayed smelt of another model is not due for this worker either.
    perform public.fail_smelt(v_small, (v_claim -> 0 ->> 'attempt')::bigint, 'connection_lost', true);
    perform pg_temp.become('postgres');
    update public.smelts set claimable_at = clock_timestamp() + interval '10 s' where id = v_small;
    perform pg_temp.become('service_role');
    assert (public.claim_smelts('idle', models => '{tiny}') ->> 'next_due_in_s')::numeric > 25;
    assert (public.claim_smelts('other', models => '{small}') ->> 'next_due_in_s')::numeric <= 10;
    assert jsonb_path_query_array(public.claim_smelts('l', models => '{large,large}'), '$.smelts[*].id')
        = jsonb_build_array(v_large);
end
$$;
