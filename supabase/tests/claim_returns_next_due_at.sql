-- `next_due_at` is the next moment at which a smelt can be claimed: a delayed retry, or an expiring lease.
do $$
declare
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('worker');
    assert v_response @> '{"smelts": [], "next_due_at": null, "next_due_in_s": null}', v_response;
    perform pg_temp.given_smelt(pg_temp.given_user());
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('worker', lease_s => 20);
    assert (v_response ->> 'next_due_in_s')::numeric between 19 and 20, v_response;
    assert (v_response ->> 'next_due_at')::timestamptz
        = (v_response -> 'smelts' -> 0 ->> 'lease_expires_at')::timestamptz;
    perform public.fail_smelt(
        (v_response -> 'smelts' -> 0 ->> 'id')::uuid, (v_response -> 'smelts' -> 0 ->> 'attempt')::bigint,
        'connection_lost', true, 100
    );
    v_response := public.claim_smelts('worker');
    assert v_response -> 'smelts' = '[]' and (v_response ->> 'next_due_in_s')::numeric between 99 and 100, v_response;
    perform pg_temp.given_smelt(pg_temp.given_user());
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('worker', max_count => 0);
    assert v_response ->> 'next_due_in_s' = '0.0', v_response;
end
$$;
