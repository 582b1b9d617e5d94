-- A repeated transient failure or release returns the first result, also after the next claim.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_attempt bigint := pg_temp.claim() ->> 'attempt';
    v_first jsonb;
begin
    update smelt.limits set retry_base_s = 0;
    perform pg_temp.become('service_role');
    v_first := public.fail_smelt(v_id, v_attempt, 'api_rate_limited', transient => true);
    assert v_first ->> 'verdict' = 'retrying' and v_first ->> 'claimable_at' is not null, v_first;
    assert public.fail_smelt(v_id, v_attempt, 'api_rate_limited', transient => true) = v_first;
    assert public.release_smelt(v_id, v_attempt) ->> 'verdict' = 'lost';
    perform pg_temp.claim();
    perform pg_temp.become('service_role');
    assert public.fail_smelt(v_id, v_attempt, 'api_rate_limited', transient => true) = v_first;

    v_attempt := (pg_temp.smelt(v_id)).attempt;
    v_first := public.release_smelt(v_id, v_attempt);
    assert v_first ->> 'verdict' = 'released', v_first;
    assert public.release_smelt(v_id, v_attempt) = v_first;
    assert public.complete_smelt(v_id, v_attempt, '[]') ->> 'verdict' = 'lost';
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).failure_count = 1, 'a release counts no failure';
end
$$;
