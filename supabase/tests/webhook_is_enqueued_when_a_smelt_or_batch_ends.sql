-- The end of a smelt, and that of the last smelt of a batch, are enqueued for the webhooks of the owner and of the
-- project that subscribe to the event, with ids and state but without the transcript.
do $$
declare
    v_owner constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
    v_batch uuid;
    v_good uuid;
    v_bad uuid;
    v_claim jsonb;
    v_delivery record;
begin
    perform pg_temp.become('service_role');
    perform public.create_smelt_webhook('https://example.com/project');
    perform pg_temp.become('authenticated', v_other);
    perform public.create_smelt_webhook('https://example.com/other');
    perform pg_temp.become('authenticated', v_owner);
    perform public.create_smelt_webhook('https://example.com/failed', '{smelt.failed,smelt.failed}');
    perform public.create_smelt_webhook('https://example.com/batch', '{batch.completed}');
    perform public.update_smelt_webhook(
        (public.create_smelt_webhook('https://example.com/disabled') ->> 'id')::uuid, enabled => false
    );
    v_batch := public.create_smelt_batch() ->> 'id';
    v_good := pg_temp.given_smelt(v_owner, p_batch => v_batch);
    v_bad := pg_temp.given_smelt(v_owner, p_batch => v_batch);
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.complete_smelt(v_good, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
    perform pg_temp.become('authenticated', v_owner);
    perform public.cancel_smelt(v_bad);
    perform public.cancel_smelt(v_bad);
    perform pg_temp.become('postgres');

    assert (
        select array_agg(regexp_replace(w.url, '.*/', '') || ' ' || d.event order by w.url, d.event)
        from smelt.webhook_deliveries as d
        join public.smelt_webhooks as w on w.id = d.webhook_id
    ) = array[
        'batch batch.completed', 'failed smelt.failed', 'project batch.completed', 'project smelt.completed',
        'project smelt.failed'
    ];
    select d.payload into strict v_delivery from smelt.webhook_deliveries as d where d.event = 'smelt.completed';
    assert v_delivery.payload - 'timestamp' = jsonb_build_object('type', 'smelt.completed', 'data', jsonb_build_object(
        'id', v_good, 'status', 'completed', 'outcome', 'complete', 'error_code', null, 'run', 1, 'batch_id', v_batch,
        'user_id', v_owner, 'metadata', '{}'::jsonb
    )), v_delivery.payload;
    assert (v_delivery.payload ->> 'timestamp')::timestamptz = (pg_temp.smelt(v_good)).completed_at;
    select d.payload into strict v_delivery
    from smelt.webhook_deliveries as d
    join public.smelt_webhooks as w on w.id = d.webhook_id
    where d.event = 'batch.completed' and w.user_id = v_owner;
    assert v_delivery.payload -> 'data' = jsonb_build_object(
        'id', v_batch, 'status', 'completed', 'total', 2, 'completed', 1, 'failed', 1, 'user_id', v_owner
    ), v_delivery.payload;

    -- A retry starts the next run, whose end is an event of its own, as is that of the batch.
    delete from smelt.webhook_deliveries;
    perform pg_temp.become('authenticated', v_owner);
    perform public.retry_smelt(v_bad);
    perform public.cancel_smelt(v_bad);
    perform pg_temp.become('postgres');
    assert (select count(*) from smelt.webhook_deliveries) = 4;
    assert (
        select count(*) from smelt.webhook_deliveries as d where d.payload -> 'data' ->> 'run' = '2'
    ) = 2;

    -- A batch that has lost a smelt is not an event.
    perform pg_temp.become('authenticated', v_owner);
    perform public.delete_smelt(v_bad);
    perform pg_temp.become('postgres');
    assert (select count(*) from smelt.webhook_deliveries) = 4;
end
$$;
