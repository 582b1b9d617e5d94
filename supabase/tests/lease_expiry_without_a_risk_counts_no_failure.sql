-- An expired lease counts a failure only if the last report had a risk. A claim, a renewal and a report without a risk
-- leave none: a smelt whose claim nobody received, or that waits for the model, is not the cause.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb;
begin
    for i in 1..6 loop
        v_claim := pg_temp.claim();
        assert (v_claim ->> 'id')::uuid = v_id and v_claim -> 'suspect' = 'null', v_claim;
        if i > 2 then
            perform pg_temp.report(v_claim, 'validating', 'decode');
            perform pg_temp.report(v_claim, 'decoding');
        end if;
        perform pg_temp.become('service_role');
        perform public.renew_smelt_leases('worker', jsonb_build_array(
            jsonb_build_object('smelt_id', v_id, 'attempt', v_claim -> 'attempt')
        ));
        perform pg_temp.expire_leases();
    end loop;
    assert (pg_temp.smelt(v_id)).failure_count = 0;

    v_claim := pg_temp.claim();
    perform pg_temp.report(v_claim, 'transcribing', 'model');
    perform pg_temp.become('service_role');
    perform public.renew_smelt_leases('worker', jsonb_build_array(
        jsonb_build_object('smelt_id', v_id, 'attempt', v_claim -> 'attempt')
    ));
    perform pg_temp.become('postgres');
    assert (select l.risk from smelt.leases as l) = 'model', 'a renewal leaves the risk';
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'failure_count')::integer = 1 and v_claim ->> 'suspect' = 'model', v_claim;
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'failure_count')::integer = 1, 'a new attempt has no risk yet';
    assert v_claim ->> 'suspect' = 'model', 'it has not passed the stage since';
end
$$;
