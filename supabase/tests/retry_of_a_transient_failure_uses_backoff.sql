-- A transient failure is retried after a growing, jittered delay, with the message `Retrying...`; the third one fails
-- the smelt with its code.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_response jsonb;
    v_delay_s double precision;
begin
    for i in 1..2 loop
        perform pg_temp.become('service_role');
        v_response := public.claim_smelts('worker') -> 'smelts' -> 0;
        perform public.report_smelt_progress(v_id, (v_response ->> 'attempt')::bigint, 'synthesizing', 75);
        v_response := public.fail_smelt(v_id, (v_response ->> 'attempt')::bigint, 'api_rate_limited', true);
        assert v_response ->> 'verdict' = 'retrying' and v_response ->> 'status' = 'synthesizing', v_response;
        v_delay_s := extract(epoch from (v_response ->> 'claimable_at')::timestamptz - clock_timestamp());
        assert v_delay_s between 2.5 * 2 ^ (i - 1) - 0.5 and 5 * 2 ^ (i - 1), v_delay_s;
        perform pg_temp.become('postgres');
        assert (pg_temp.smelt(v_id)).message = 'Retrying...' and (pg_temp.smelt(v_id)).percentage = 75;
        assert pg_temp.claim() is null, 'not before it is due';
        update public.smelts set claimable_at = now() where id = v_id;
    end loop;
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('worker') -> 'smelts' -> 0;
    assert (pg_temp.smelt(v_id)).message = 'Retrying...';
    v_response := public.fail_smelt(v_id, (v_response ->> 'attempt')::bigint, 'api_rate_limited', true, 60);
    assert v_response ->> 'verdict' = 'settled' and v_response ->> 'error_code' = 'api_rate_limited', v_response;
end
$$;
