-- 410 disables a webhook at once. A failed delivery does not if another one has succeeded since it was enqueued.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    perform public.create_smelt_webhook('https://example.com/hook');
    perform pg_temp.given_ended_smelt(v_user);
    perform pg_temp.become('service_role');
    v_claim := public.claim_smelt_webhook_deliveries('worker') -> 0;
    perform public.settle_smelt_webhook_delivery((v_claim ->> 'id')::uuid, 1, 400);
    perform pg_temp.given_ended_smelt(v_user);
    perform pg_temp.become('service_role');
    perform public.settle_smelt_webhook_delivery(
        (public.claim_smelt_webhook_deliveries('worker') -> 0 ->> 'id')::uuid, 1, 200
    );
    perform pg_temp.become('postgres');
    update smelt.webhook_deliveries set next_at = now(), attempt = 10 where status = 'pending';
    perform pg_temp.become('service_role');
    assert public.claim_smelt_webhook_deliveries('worker') -> 0 ->> 'id' = v_claim ->> 'id';
    assert public.settle_smelt_webhook_delivery((v_claim ->> 'id')::uuid, 11, 400)
        = '{"status": "failed", "disabled_reason": null}';
    assert (select w.enabled from public.smelt_webhooks as w where w.user_id = v_user);

    perform pg_temp.given_ended_smelt(v_user);
    perform pg_temp.become('service_role');
    assert public.settle_smelt_webhook_delivery(
        (public.claim_smelt_webhook_deliveries('worker') -> 0 ->> 'id')::uuid, 1, 410
    ) = '{"status": "failed", "disabled_reason": "gone"}';
    assert (select w.disabled_reason from public.smelt_webhooks as w where w.user_id = v_user) = 'gone';
end
$$;
