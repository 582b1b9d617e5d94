-- Of each webhook, one delivery is leased at a time, in the order in which they are due. The webhook whose last attempt
-- is the longest ago comes first, however many deliveries another one has.
do $$
declare
    v_busy constant uuid := pg_temp.given_user();
    v_idle constant uuid := pg_temp.given_user();
    v_first jsonb;
    v_next jsonb;
begin
    perform pg_temp.become('authenticated', v_busy);
    perform public.create_smelt_webhook('https://busy.example');
    perform public.create_smelt_webhook('https://busy.example');
    perform pg_temp.given_ended_smelt(v_busy) from generate_series(1, 5);
    perform pg_temp.become('service_role');
    v_first := public.claim_smelt_webhook_deliveries('worker', 4);
    assert jsonb_array_length(v_first) = 2, v_first;
    perform public.settle_smelt_webhook_delivery((d ->> 'id')::uuid, 1, error => 'timed_out')
    from jsonb_array_elements(v_first) as d;

    perform pg_temp.become('authenticated', v_idle);
    perform public.create_smelt_webhook('https://idle.example');
    perform pg_temp.given_ended_smelt(v_idle);
    perform pg_temp.become('service_role');
    v_next := public.claim_smelt_webhook_deliveries('worker', 2);
    assert v_next -> 0 ->> 'url' = 'https://idle.example', v_next;
    assert v_next -> 1 ->> 'webhook_id' = v_first -> 0 ->> 'webhook_id', v_next;
    assert v_next -> 1 ->> 'id' <> v_first -> 0 ->> 'id', 'the failed one waits';
end
$$;
