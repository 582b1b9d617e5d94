-- The secret of a webhook is returned by the call that makes it and by no other. After a rotation, requests are signed
-- with the new and the old one until the overlap ends.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_rotated jsonb;
    v_id uuid;
begin
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt_webhook('https://example.com/hook', '{smelt.failed}');
    v_id := v_created ->> 'id';
    assert v_created ->> 'secret' ~ '^whsec_[A-Za-z0-9+/]{43}=$', v_created;
    assert length(decode(substring(v_created ->> 'secret' from 7), 'base64')) = 32;
    assert (select to_jsonb(w) = v_created - 'secret' from public.smelt_webhooks as w);
    assert not public.update_smelt_webhook(v_id, 'https://example.com/new') ? 'secret';
    assert public.get_smelt_webhook_deliveries(v_id)::text !~ 'whsec_';
    assert pg_temp.rejection('select from smelt.webhook_secrets') = '42501';
    assert pg_temp.rejection('select from smelt.webhook_deliveries') = '42501';
    v_rotated := public.rotate_smelt_webhook_secret(v_id, 1);
    assert v_rotated ->> 'secret' <> v_created ->> 'secret';
    perform pg_temp.given_ended_smelt(v_user);
    perform pg_temp.become('service_role');
    assert public.claim_smelt_webhook_deliveries('worker') -> 0 -> 'secrets'
        = jsonb_build_array(v_rotated -> 'secret', v_created -> 'secret');
    perform pg_temp.become('postgres');
    assert (
        select s.previous_until - now() between interval '59 min' and interval '61 min'
        from smelt.webhook_secrets as s where s.webhook_id = v_id
    );
    update smelt.webhook_secrets set previous_until = now();
    update smelt.webhook_deliveries set leased_until = now();
    perform pg_temp.become('service_role');
    assert public.claim_smelt_webhook_deliveries('worker') -> 0 -> 'secrets'
        = jsonb_build_array(v_rotated -> 'secret');
end
$$;
