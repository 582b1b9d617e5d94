-- A delivery is leased to one worker, with one body and id for all attempts. After an expired lease another worker gets
-- it, and a late result of the first one changes nothing. After twenty leases without a result it has failed.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_webhook jsonb;
    v_first jsonb;
    v_second jsonb;
    v_log jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_webhook := public.create_smelt_webhook('https://example.com/hook');
    perform pg_temp.given_ended_smelt(v_user);
    perform pg_temp.become('service_role');
    v_first := public.claim_smelt_webhook_deliveries('one') -> 0;
    assert v_first ->> 'url' = 'https://example.com/hook' and v_first ->> 'attempt' = '1', v_first;
    assert v_first -> 'secrets' = jsonb_build_array(v_webhook -> 'secret'), v_first;
    assert (v_first ->> 'sent_at')::bigint between extract(epoch from now()) - 1
        and extract(epoch from clock_timestamp()), v_first;
    assert public.claim_smelt_webhook_deliveries('two') = '[]', 'it is leased';
    perform pg_temp.become('postgres');
    update smelt.webhook_deliveries set leased_until = clock_timestamp() - interval '1 s';
    perform pg_temp.become('service_role');
    v_second := public.claim_smelt_webhook_deliveries('two') -> 0;
    assert v_second - '{attempt,sent_at}'::text[] = v_first - '{attempt,sent_at}'::text[], v_second;
    assert v_second ->> 'attempt' = '2', v_second;

    assert public.settle_smelt_webhook_delivery((v_first ->> 'id')::uuid, 1, 200) ->> 'status' = 'lost';
    assert public.claim_smelt_webhook_deliveries('three') = '[]', 'it is still leased to the second worker';
    assert public.settle_smelt_webhook_delivery((v_first ->> 'id')::uuid, 2, 204, null, 31) ->> 'status' = 'delivered';
    assert public.settle_smelt_webhook_delivery((v_first ->> 'id')::uuid, 2, 500) ->> 'status' = 'delivered';
    assert public.settle_smelt_webhook_delivery(gen_random_uuid(), 1, 200) ->> 'status' = 'lost';
    assert public.claim_smelt_webhook_deliveries('three') = '[]', 'it is delivered';
    perform pg_temp.given_ended_smelt(v_user);
    update smelt.webhook_deliveries set attempt = 20 where status = 'pending';
    perform pg_temp.become('service_role');
    assert public.claim_smelt_webhook_deliveries('three') = '[]', 'it had no result too often';
    perform pg_temp.become('authenticated', v_user);
    v_log := public.get_smelt_webhook_deliveries((v_webhook ->> 'id')::uuid);
    assert v_log -> 0 @> '{"status": "failed", "error": "no_result"}', v_log;
    assert v_log -> 1 @> '{"status": "delivered", "attempt": 2, "status_code": 204, "duration_ms": 31}', v_log;
    assert v_log -> 1 @> '{"error": null, "next_at": null}', v_log;
end
$$;
