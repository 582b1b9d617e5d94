-- A transient failure is tried again after a growing, jittered while, and says so; the last one fails with its code.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_answer jsonb;
    v_delay_s double precision;
begin
    for i in 1..2 loop
        perform pg_temp.become('service_role');
        v_answer := public.claim_smelts('worker') -> 'smelts' -> 0;
        perform public.report_smelt_progress(v_id, (v_answer ->> 'attempt')::bigint, 'synthesizing', 75);
        v_answer := public.fail_smelt(v_id, (v_answer ->> 'attempt')::bigint, 'api_rate_limited', true);
        assert v_answer ->> 'verdict' = 'retrying' and v_answer ->> 'status' = 'synthesizing', v_answer;
        v_delay_s := extract(epoch from (v_answer ->> 'claimable_at')::timestamptz - clock_timestamp());
        assert v_delay_s between 2.5 * 2 ^ (i - 1) - 0.5 and 5 * 2 ^ (i - 1), v_delay_s;
        perform pg_temp.become('postgres');
        assert (pg_temp.smelt(v_id)).message = 'Retrying...' and (pg_temp.smelt(v_id)).percentage = 75;
        assert pg_temp.claim() is null, 'not before it is due';
        update public.smelts set claimable_at = now() where id = v_id;
    end loop;
    perform pg_temp.become('service_role');
    v_answer := public.claim_smelts('worker') -> 'smelts' -> 0;
    assert (pg_temp.smelt(v_id)).message = 'Retrying...';
    v_answer := public.fail_smelt(v_id, (v_answer ->> 'attempt')::bigint, 'api_rate_limited', true, 60);
    assert v_answer ->> 'verdict' = 'settled' and v_answer ->> 'error_code' = 'api_rate_limited', v_answer;
end
$$;
