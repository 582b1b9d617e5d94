-- `next_due_at` is the next moment at which something could be claimed: a delayed retry, or a lease that runs out.
do $$
declare
    v_answer jsonb;
begin
    perform pg_temp.become('service_role');
    v_answer := public.claim_smelts('worker');
    assert v_answer = '{"smelts": [], "next_due_at": null, "next_due_in_s": null}', v_answer;
    perform pg_temp.given_smelt(pg_temp.given_user());
    perform pg_temp.become('service_role');
    v_answer := public.claim_smelts('worker', lease_s => 20);
    assert (v_answer ->> 'next_due_in_s')::numeric between 19 and 20, v_answer;
    assert (v_answer ->> 'next_due_at')::timestamptz = (v_answer -> 'smelts' -> 0 ->> 'lease_expires_at')::timestamptz;
    perform public.fail_smelt(
        (v_answer -> 'smelts' -> 0 ->> 'id')::uuid, (v_answer -> 'smelts' -> 0 ->> 'attempt')::bigint,
        'connection_lost', true, 100
    );
    v_answer := public.claim_smelts('worker');
    assert v_answer -> 'smelts' = '[]' and (v_answer ->> 'next_due_in_s')::numeric between 99 and 100, v_answer;
    perform pg_temp.given_smelt(pg_temp.given_user());
    perform pg_temp.become('service_role');
    v_answer := public.claim_smelts('worker', 0);
    assert v_answer ->> 'next_due_in_s' = '0.0', v_answer;
end
$$;
