-- A dispatched attempt belongs to no worker: its worker claims other smelts, also a suspect. A lease that expires before
-- the first callback counts nothing; after it, one failure with the risk `external`, which makes no suspect. A transient
-- error of the service is a failure as well; a smelt that the service does not accept is released without one.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb := pg_temp.claim();
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.dispatch_smelt(v_id, (v_claim ->> 'attempt')::bigint);
    perform public.renew_smelt_leases('worker', jsonb_build_array(
        jsonb_build_object('smelt_id', v_id, 'attempt', v_claim -> 'attempt')
    ));
    perform pg_temp.become('postgres');
    assert (select l.expires_at > clock_timestamp() + interval '100 s' from smelt.leases as l), 'no worker renews it';
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'failure_count')::integer = 0, v_claim;
    assert (select a.reason = 'the external service did not call back' from smelt.attempts as a where a.ended_as = 'expired');

    perform pg_temp.become('service_role');
    perform public.dispatch_smelt(v_id, (v_claim ->> 'attempt')::bigint);
    perform public.report_dispatched_smelt(v_id, (v_claim ->> 'attempt')::bigint);
    perform pg_temp.become('postgres');
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'failure_count')::integer = 1 and v_claim -> 'suspect' = 'null', v_claim;
    assert (select array_agg(a.risk) = '{external}' from smelt.attempts as a where a.is_failure);

    perform pg_temp.become('service_role');
    perform public.dispatch_smelt(v_id, (v_claim ->> 'attempt')::bigint);
    v_response := public.report_dispatched_smelt(
        v_id, (v_claim ->> 'attempt')::bigint,
        '{"error": {"code": "internal_error", "message": "no memory", "transient": true}}'
    );
    assert v_response ->> 'verdict' = 'go_on', v_response;
    assert public.report_dispatched_smelt(v_id, (v_claim ->> 'attempt')::bigint) ->> 'verdict' = 'lost';
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).failure_count = 2 and (pg_temp.smelt(v_id)).claimable_at > clock_timestamp();
    assert exists (select from smelt.attempts as a where a.reason = 'the external service reports: no memory');

    update public.smelts set claimable_at = now();
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.dispatch_smelt(v_id, (v_claim ->> 'attempt')::bigint);
    v_response := public.release_smelt(v_id, (v_claim ->> 'attempt')::bigint, retry_after_s => 40);
    assert (v_response ->> 'claimable_at')::timestamptz > clock_timestamp() + interval '30 s', v_response;
    assert public.report_dispatched_smelt(v_id, (v_claim ->> 'attempt')::bigint) ->> 'verdict' = 'lost';
    perform public.cancel_smelt(v_id);
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_id)).failure_count = 2;
end
$$;
