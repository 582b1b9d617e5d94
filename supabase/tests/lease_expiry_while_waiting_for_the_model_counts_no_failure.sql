-- An expired lease counts no failure while the smelt waits for the model; once the model works on it, it does.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb;
    v_leases jsonb;
begin
    for i in 1..4 loop
        v_claim := pg_temp.claim();
        assert (v_claim ->> 'id')::uuid = v_id and (v_claim ->> 'failure_count')::integer = 0, v_claim;
        v_leases := jsonb_build_array(
            jsonb_build_object('smelt_id', v_id, 'attempt', v_claim -> 'attempt', 'waits', true)
        );
        perform pg_temp.become('service_role');
        perform public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'decoding', 20);
        perform public.renew_smelt_leases('one', v_leases);
        perform public.report_smelt_progress(
            v_id, (v_claim ->> 'attempt')::bigint, 'decoding', 20, eta_seconds => i * 10
        );
        perform pg_temp.expire_leases();
    end loop;
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.renew_smelt_leases('one', jsonb_set(v_leases, '{0,attempt}', v_claim -> 'attempt'));
    perform public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'transcribing', 20);
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'failure_count')::integer = 1, v_claim;
    perform pg_temp.expire_leases();
    assert (pg_temp.claim() ->> 'failure_count')::integer = 2, 'a new attempt does not await the model yet';
end
$$;
