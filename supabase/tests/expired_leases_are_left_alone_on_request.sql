-- A claim with `expired_leases` false leaves expired leases to their workers, with a risk or without, and is due again
-- in 5 seconds; it claims waiting smelts as always.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_waiting uuid;
    v_response jsonb;
begin
    for i in 1..2 loop
        perform pg_temp.given_smelt(v_user);
    end loop;
    perform pg_temp.report(pg_temp.claim('one'), 'transcribing', 'model');
    perform pg_temp.claim('one');
    perform pg_temp.expire_leases();
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('two', max_count => 5, expired_leases => false);
    assert v_response -> 'smelts' = '[]', v_response;
    assert (v_response ->> 'next_due_in_s')::numeric between 4 and 5, v_response;
    perform pg_temp.become('postgres');
    assert not exists (select from smelt.attempts as a where a.ended_at is not null);

    v_waiting := pg_temp.given_smelt(v_user);
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('two', max_count => 5, expired_leases => false) -> 'smelts';
    assert jsonb_array_length(v_response) = 1 and v_response -> 0 ->> 'id' = v_waiting::text, v_response;
    assert jsonb_array_length(public.claim_smelts('three', max_count => 5) -> 'smelts') = 1, 'the suspect';
    assert jsonb_array_length(public.claim_smelts('four', max_count => 5) -> 'smelts') = 1, 'the other one';
end
$$;
