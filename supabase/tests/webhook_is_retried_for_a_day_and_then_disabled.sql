-- A delivery is attempted eleven times in about a day, with growing delays. Then it has failed, and its webhook is
-- disabled with a notification for its owner, and its other deliveries end.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_webhook_id uuid;
    v_claim jsonb;
    v_delay interval;
    v_last interval := '0';
    v_total interval := '0';
    v_notification public.smelt_notifications;
begin
    perform pg_temp.become('authenticated', v_user);
    v_webhook_id := public.create_smelt_webhook('https://example.com:8443/hook') ->> 'id';
    perform pg_temp.given_ended_smelt(v_user);
    for v_attempt in 1..11 loop
        perform pg_temp.become('service_role');
        v_claim := public.claim_smelt_webhook_deliveries('worker') -> 0;
        assert v_claim ->> 'attempt' = v_attempt::text, v_claim;
        assert public.settle_smelt_webhook_delivery((v_claim ->> 'id')::uuid, v_attempt, 503) = jsonb_build_object(
            'status', case v_attempt when 11 then 'failed' else 'pending' end,
            'disabled_reason', case v_attempt when 11 then 'failing' end
        );
        assert public.claim_smelt_webhook_deliveries('worker') = '[]', 'it waits';
        perform pg_temp.become('postgres');
        if v_attempt < 11 then
            select d.next_at - clock_timestamp() into strict v_delay from smelt.webhook_deliveries as d;
            assert v_delay > 0.8 * v_last, v_delay;
            v_last := v_delay;
            v_total := v_total + v_delay;
            update smelt.webhook_deliveries set next_at = clock_timestamp() - interval '1 ms';
        end if;
        if v_attempt = 10 then
            perform pg_temp.given_ended_smelt(v_user);
            update smelt.webhook_deliveries set next_at = clock_timestamp() + interval '1 s' where attempt = 0;
        end if;
    end loop;
    assert v_total between interval '21 hours' and interval '27 hours', v_total;

    assert (select array_agg(d.error order by d.attempt) from smelt.webhook_deliveries as d) = array['disabled', null];
    assert (select bool_and(d.status = 'failed') from smelt.webhook_deliveries as d);
    perform pg_temp.become('authenticated', v_user);
    assert (
        select not w.enabled and w.disabled_reason = 'failing' from public.smelt_webhooks as w where w.id = v_webhook_id
    );
    select n.* into strict v_notification from public.smelt_notifications as n where n.type = 'webhook_disabled';
    assert v_notification.title = 'Webhook disabled: example.com', v_notification;
    assert v_notification.data = jsonb_build_object('webhook_id', v_webhook_id, 'reason', 'failing'), v_notification;
    perform pg_temp.given_ended_smelt(v_user);
    assert (select count(*) from smelt.webhook_deliveries) = 2, 'a disabled webhook gets no events';
    assert (
        select o.payload @> to_jsonb(v_notification) from smelt.outbox as o where o.event_id = v_notification.id
    );

    perform pg_temp.become('authenticated', v_user);
    assert public.update_smelt_webhook(v_webhook_id, enabled => true)
        @> '{"enabled": true, "disabled_reason": null}';
    perform pg_temp.given_ended_smelt(v_user);
    perform pg_temp.become('service_role');
    assert public.claim_smelt_webhook_deliveries('worker') -> 0 ->> 'attempt' = '1';
end
$$;
