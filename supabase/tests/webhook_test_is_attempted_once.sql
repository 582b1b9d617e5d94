-- A test is a delivery of its own type, one at a time, that is attempted once and does not disable the webhook.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
    v_test jsonb;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt_webhook('https://example.com/hook', '{batch.completed}') ->> 'id';
    v_test := public.test_smelt_webhook(v_id);
    assert v_test ->> 'worker_online' = 'false', v_test;
    assert pg_temp.rejection(format('select public.test_smelt_webhook(%L)', v_id)) = 'PT400 invalid_request';
    perform pg_temp.become('service_role');
    v_claim := public.claim_smelt_webhook_deliveries('worker') -> 0;
    assert v_claim ->> 'id' = v_test ->> 'delivery_id' and v_claim ->> 'event' = 'webhook.test', v_claim;
    assert (v_claim ->> 'body')::jsonb -> 'data' ->> 'id' = v_id::text, v_claim;
    perform public.settle_smelt_webhook_delivery((v_claim ->> 'id')::uuid, 1, null, 'timed_out', 10000);
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt_webhook_deliveries(v_id, delivery_id => (v_test ->> 'delivery_id')::uuid) -> 0
        @> '{"status": "failed", "error": "timed_out", "next_at": null}';
    assert (select w.enabled from public.smelt_webhooks as w);
    perform pg_temp.become('postgres');
    perform pg_temp.given_worker('worker', 'host');
    perform pg_temp.become('authenticated', v_user);
    assert public.test_smelt_webhook(v_id) ->> 'worker_online' = 'true';
    perform public.update_smelt_webhook(v_id, enabled => false);
    assert pg_temp.rejection(format('select public.test_smelt_webhook(%L)', v_id)) = 'PT400 invalid_request';
end
$$;
