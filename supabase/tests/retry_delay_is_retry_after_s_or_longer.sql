-- `retry_after_s` is the least time that passes before the next try.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_answer jsonb;
begin
    perform pg_temp.become('service_role');
    v_answer := public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'api_rate_limited', true, 120);
    assert (v_answer ->> 'claimable_at')::timestamptz > clock_timestamp() + interval '119 s', v_answer;
end
$$;
