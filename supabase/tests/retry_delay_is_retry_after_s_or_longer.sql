-- The delay before the next attempt is `retry_after_s` or longer.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    v_response := public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'api_rate_limited', true, 120);
    assert (v_response ->> 'claimable_at')::timestamptz > clock_timestamp() + interval '119 s', v_response;
end
$$;
