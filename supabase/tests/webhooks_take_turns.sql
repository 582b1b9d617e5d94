-- Of each webhook, one delivery is leased at a time, in the order in which they are due. The webhooks whose last
-- attempt is the longest ago come first, however many deliveries others have.
do $$
declare
    v_busy constant uuid := pg_temp.given_user();
    v_idle constant uuid := pg_temp.given_user();
    v_first jsonb;
    v_next jsonb;
begin
    perform pg_temp.become('authenticated', v_busy);
    perform public.create_smelt_webhook('https://busy.example') from generate_series(1, 4);
    perform pg_temp.given_ended_smelt(v_busy) from generate_series(1, 3);
    perform pg_temp.become('service_role');
    v_first := public.claim_smelt_webhook_deliveries('worker', 10);
    assert jsonb_array_length(v_first) = 4, v_first;
    perform public.settle_smelt_webhook_delivery((d ->> 'id')::uuid, 1, error => 'timed_out')
    from jsonb_array_elements(v_first) as d;

    -- Ids are random: they put these in front of the others once in a thousand times.
    perform pg_temp.become('authenticated', v_idle);
    perform public.create_smelt_webhook('https://idle.example') from generate_series(1, 10);
    perform pg_temp.given_ended_smelt(v_idle);
    perform pg_temp.become('service_role');
    v_next := public.claim_smelt_webhook_deliveries('worker', 11);
    assert (
        select bool_and(d ->> 'url' = 'https://idle.example')
        from jsonb_array_elements(v_next) with ordinality as n (d, ordinal)
        where n.ordinal <= 10
    ), v_next;
    assert v_next -> 10 ->> 'webhook_id' = v_first -> 0 ->> 'webhook_id', v_next;
    assert v_next -> 10 ->> 'id' <> v_first -> 0 ->> 'id', 'the failed one waits';
end
$$;
