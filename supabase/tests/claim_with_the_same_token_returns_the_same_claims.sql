-- A claim that is repeated with its token returns the same attempts, renews their leases and claims nothing more.
-- Another token, another worker and a claim whose smelts have ended do not.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_token constant uuid := gen_random_uuid();
    v_first jsonb;
    v_repeated jsonb;
begin
    for i in 1..6 loop
        perform pg_temp.given_smelt(v_user);
    end loop;
    perform pg_temp.become('service_role');
    v_first := public.claim_smelts('one', v_token, max_count => 2) -> 'smelts';
    assert jsonb_array_length(v_first) = 2;
    perform pg_temp.become('postgres');
    update smelt.leases set expires_at = clock_timestamp() + interval '1 s', risk = 'model';
    perform pg_temp.become('service_role');
    v_repeated := public.claim_smelts('one', v_token, max_count => 3) -> 'smelts';
    assert (select jsonb_agg(c - 'lease_expires_at' order by c ->> 'id') from jsonb_array_elements(v_repeated) as c)
        = (select jsonb_agg(c - 'lease_expires_at' order by c ->> 'id') from jsonb_array_elements(v_first) as c);
    perform pg_temp.become('postgres');
    assert (select count(*) = 2 and min(l.expires_at) > clock_timestamp() + interval '25 s' from smelt.leases as l);
    assert (select bool_and(l.risk = 'model') from smelt.leases as l);
    assert (select count(*) from smelt.attempts) = 2;

    perform pg_temp.become('service_role');
    assert jsonb_array_length(public.claim_smelts('two', v_token) -> 'smelts') = 1;
    assert jsonb_array_length(public.claim_smelts('one', gen_random_uuid()) -> 'smelts') = 1;
    assert jsonb_array_length(public.claim_smelts('one') -> 'smelts') = 1;
    for i in 0..1 loop
        perform public.release_smelt((v_first -> i ->> 'id')::uuid, (v_first -> i ->> 'attempt')::bigint);
    end loop;
    v_repeated := public.claim_smelts('one', v_token, max_count => 100) -> 'smelts';
    assert jsonb_array_length(v_repeated) = 3, 'two released ones and the last one';
    assert not v_repeated @> jsonb_build_array(jsonb_build_object('attempt', 1, 'id', v_first -> 0 -> 'id'));
end
$$;
